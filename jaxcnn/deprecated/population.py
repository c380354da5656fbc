"""Deprecated: `jaxcnn.training.population`."""

import warnings

from jaxcnn.training.population import groups

__all__ = ["groups"]

warnings.warn("jaxcnn.population goes with 0.3", DeprecationWarning, stacklevel=2)
