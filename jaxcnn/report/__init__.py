"""What people look at: figures (Matplotlib) and pages (one self-contained HTML file each).

A notebook shows galleries, and after `%matplotlib inline` figures too, as they are:

    from jaxcnn.report import confusion_chart, misclassified

    confusion_chart(measured.confusion, class_names)
    misclassified(predictions)
"""

from jaxcnn.analysis.tables import metrics_text
from jaxcnn.report.activations import feature_maps, filters, heat_maps
from jaxcnn.report.charts import curves, projection_chart, reliability_chart
from jaxcnn.report.class_charts import class_bars, confusion_chart, robustness_chart
from jaxcnn.report.galleries import (
    Gallery,
    Neighbour,
    Prediction,
    confidently_wrong,
    gallery_html,
    gallery_png,
    likely_label_errors,
    misclassified,
    nearest_neighbours,
    sample_predictions,
)
from jaxcnn.report.page import Note
from jaxcnn.report.report_page import Report, report_page, split_note, unreadable_note, verdict
from jaxcnn.report.style import DARK, LIGHT, Chart, Theme, in_both_themes, to_png

__all__ = [
    "DARK",
    "LIGHT",
    "Chart",
    "Gallery",
    "Neighbour",
    "Note",
    "Prediction",
    "Report",
    "Theme",
    "class_bars",
    "confidently_wrong",
    "confusion_chart",
    "curves",
    "feature_maps",
    "filters",
    "gallery_html",
    "gallery_png",
    "heat_maps",
    "in_both_themes",
    "likely_label_errors",
    "metrics_text",
    "misclassified",
    "nearest_neighbours",
    "projection_chart",
    "reliability_chart",
    "report_page",
    "robustness_chart",
    "sample_predictions",
    "split_note",
    "to_png",
    "unreadable_note",
    "verdict",
]
