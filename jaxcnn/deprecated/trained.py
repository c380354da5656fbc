"""Deprecated: `from jaxcnn import Trained, load_trained`."""

import warnings

from jaxcnn.inference.trained import Trained, load_trained

__all__ = ["Trained", "load_trained"]

message = "jaxcnn.trained goes with 0.3: from jaxcnn import Trained, load_trained"
warnings.warn(message, DeprecationWarning, stacklevel=2)
