"""Deprecated: `from jaxcnn import assess, find_data`."""

import warnings

from jaxcnn.evaluation.assess import assess, find_data

__all__ = ["assess", "find_data"]

message = "jaxcnn.assessment goes with 0.3: from jaxcnn import assess, find_data"
warnings.warn(message, DeprecationWarning, stacklevel=2)
