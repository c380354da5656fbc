"""Deprecated: `from jaxcnn import illustrate`."""

import warnings

from jaxcnn.evaluation.illustrate import illustrate

__all__ = ["illustrate"]

message = "jaxcnn.illustration goes with 0.3: from jaxcnn import illustrate"
warnings.warn(message, DeprecationWarning, stacklevel=2)
