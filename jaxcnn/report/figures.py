"""The module of 0.1 that made pictures of figures: `from jaxcnn.report import to_png` instead."""

from jaxcnn.report.style import to_png

__all__ = ["to_png"]
