"""Deprecated: `from jaxcnn import export`."""

import warnings

from jaxcnn.exports.export import export

__all__ = ["export"]

message = "jaxcnn.exporting goes with 0.3: from jaxcnn import export"
warnings.warn(message, DeprecationWarning, stacklevel=2)
