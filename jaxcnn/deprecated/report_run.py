"""Deprecated: `from jaxcnn import history, write_report`."""

import warnings

from jaxcnn.evaluation.report import history, write_report

__all__ = ["history", "write_report"]

message = "jaxcnn.report_run goes with 0.3: from jaxcnn import history, write_report"
warnings.warn(message, DeprecationWarning, stacklevel=2)
