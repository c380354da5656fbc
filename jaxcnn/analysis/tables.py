"""Metrics as a text for a terminal, their names and titles; and the table of predictions."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat, zip_longest
from textwrap import wrap
from typing import TextIO

import numpy as np

from jaxcnn.analysis.intervals import BY_CONVENTION, Estimate
from jaxcnn.analysis.measure import CALIBRATION, Measured
from jaxcnn.errors import printable

# Up to so many classes all are shown, of more the worst.
_ALL_CLASSES, _WORST_CLASSES = 20, 10
_CONFUSIONS, _GROUPS = 3, 5
_NAME = 24
# The columns of parts of the images that show intervals.
_WIDE = ("recall", "accuracy")
# Probabilities that a table of predictions holds at most.
_PROBABILITIES = 20_000_000

# Metric: its title, and what it tells a newcomer.
METRICS = {
    "accuracy": ("accuracy", "share of the images that the model names rightly"),
    "top5_accuracy": ("top-5 accuracy", "the label is among the five most probable classes"),
    "balanced_accuracy": ("balanced accuracy", "mean recall: rare classes count like frequent"),
    "precision_macro": (
        "precision",
        "of what is called a class, the share that is; mean of classes",
    ),
    "recall_macro": ("recall", "of what is a class, the share that is called so; mean of classes"),
    "f1_macro": ("F1", "harmonic mean of precision and recall; mean of classes"),
    "cohen_kappa": ("Cohen's kappa", "agreement beyond chance: 0 is chance, 1 is perfect"),
    "matthews": ("Matthews correlation", "of labels and predictions: 0 is chance, 1 is perfect"),
    "roc_auc_macro": ("ROC-AUC", "how well each class is ranked above the others: 50 % is chance"),
    "average_precision_macro": ("average precision", "the same, stricter where a class is rare"),
    "loss": ("loss", "cross-entropy in nats: 0 is perfect; being sure and wrong costs most"),
    "brier": ("Brier score", "squared error of the probabilities: 0 is perfect, 2 the worst"),
    "expected_calibration_error": (
        "calibration error",
        "how far probabilities are from the share that is right",
    ),
}
# The columns of the terminal, with their own titles where means of several kinds stand side by
# side. Micro-averages all equal accuracy.
_FIRST = ("accuracy", "top5_accuracy", "balanced_accuracy", *CALIBRATION, "cohen_kappa", "matthews")
_LEFT = {name: METRICS[name][0] for name in _FIRST}
_RIGHT = {
    "precision_macro": "precision, macro",
    "precision_weighted": "precision, weighted",
    "recall_macro": "recall, macro",
    "f1_macro": "F1, macro",
    "f1_weighted": "F1, weighted",
    "roc_auc_macro": "ROC-AUC, macro",
    "average_precision_macro": "average precision",
}


def is_share(name: str) -> bool:
    """Whether a metric is read as a percentage."""
    return not name.startswith(("loss", "brier", "cohen_kappa", "matthews"))


def metrics_text(measured: Measured, views: Mapping[str, Estimate] | None = None) -> str:
    """At most 100 columns. The file of metrics holds what is left out here.

    views: the metrics with test-time augmentation, whose accuracy stands below the plain ones.
    """
    examples = int(measured.support.sum())
    lines = [f"{_many(examples, 'example')}, {_many(len(measured.classes), 'class')}"]
    if not examples:
        return f"{lines[0]}: nothing to measure"
    if measured.temperature != 1:
        lines[0] += f", temperature {measured.temperature:.3g}"
    augmented = []
    if views:
        accuracy = _shown("accuracy", views["accuracy"]).lstrip()
        augmented = [f"accuracy with test-time augmentation {accuracy}"]
    blocks = [
        _overall(measured),
        augmented,
        _classes(measured),
        _confusions(measured),
        _groups(measured),
    ]
    for block in blocks:
        lines += ["", *block] if block else []
    return "\n".join(line.rstrip() for line in lines)


def _overall(measured: Measured) -> list[str]:
    columns = [
        [
            f"{title:<20} {_shown(name, measured.metrics[name])}"
            for name, title in titles.items()
            if name in measured.metrics
        ]
        for titles in (_LEFT, _RIGHT)
    ]
    lines = [f"{left:<49} {right}" for left, right in zip_longest(*columns, fillvalue="")]
    return lines + _reasons(measured)


def _reasons(measured: Measured) -> list[str]:
    """Reasons why values or intervals are missing, each once, with the metrics it is for."""
    reasons: dict[str, list[str]] = {}
    for name, title in (_LEFT | _RIGHT).items():
        if name in measured.metrics and (reason := measured.metrics[name].reason):
            reasons.setdefault(reason, []).append(title)
    lines = []
    for reason, titles in reasons.items():
        named = ", ".join(titles) if len(titles) <= 3 else f"{len(titles)} metrics"
        lines += wrap(f"({named}: {reason})", 99, subsequent_indent=" ")
    return lines


def _classes(measured: Measured) -> list[str]:
    names = list(measured.classes)
    chosen, title = list(range(len(names))), "class"
    if len(names) > _ALL_CLASSES:
        occurs = measured.support > 0
        f1 = np.array([measured.classes[name]["f1"].value or 0.0 for name in names])
        # Classes without examples have nothing to be bad at.
        order = np.lexsort((-measured.support, f1, ~occurs))
        chosen, title = order[:_WORST_CLASSES].tolist(), f"worst {_WORST_CLASSES} classes"
    sizes = dict(zip(names, measured.support.tolist(), strict=True))
    columns = {"precision": "precision", "recall": "recall", "f1": "F1", "roc_auc": "ROC-AUC"}
    return _parts(title, columns, [names[k] for k in chosen], sizes, measured.classes)


def _parts(
    title: str,
    columns: Mapping[str, str],
    names: Sequence[str],
    sizes: Mapping[str, int],
    parts: Mapping[str, Mapping[str, Estimate]],
) -> list[str]:
    """A line for each part of the images: its name, its size and metrics, one with its interval.

    columns: the title of each metric.
    """
    width = max([len(title), *(len(_name(name)) for name in names)])
    header = [f"{words:<25}" if m in _WIDE else f"{words:>9}" for m, words in columns.items()]
    lines = ["  ".join([f"{title:<{width}}", "examples", *header])]
    for name in names:
        cells = [
            f"{_shown(m, value):<25}" if m in _WIDE else f"{_value(m, value):>9}"
            for m, value in ((m, parts[name][m]) for m in columns)
        ]
        lines.append("  ".join([f"{_name(name):<{width}}", f"{sizes[name]:>8,}", *cells]))
    return lines


def _confusions(measured: Measured) -> list[str]:
    names = list(measured.classes)
    lines = [
        f"  {_name(names[c.label])} taken for {_name(names[c.prediction])}: "
        f"{c.count:,} ({100 * c.share:.1f} %)"
        for c in measured.confusions[:_CONFUSIONS]
    ]
    return ["most often taken for another class", *lines] if lines else []


def _groups(measured: Measured) -> list[str]:
    if not measured.groups:
        return []
    accuracy = {name: metrics["accuracy"].value or 0.0 for name, metrics in measured.groups.items()}
    order = sorted(accuracy, key=accuracy.__getitem__)  # worst first
    columns = {"accuracy": "accuracy", "balanced_accuracy": "balanced"}
    columns |= {"f1_macro": "F1, macro", "loss": "loss"}
    sizes, more = measured.group_sizes, len(order) - _GROUPS
    lines = _parts("group", columns, order[:_GROUPS], sizes, measured.groups)
    return [*lines, f"and {_many(more, 'group')} more"] if more > 0 else lines


def _shown(name: str, estimate: Estimate) -> str:
    """A value with its interval, if there is one."""
    value = _value(name, estimate)
    if estimate.low is None or estimate.high is None:
        return f"{value:>9}"
    if is_share(name):
        return f"{value:>9}  ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"
    return f"{value:>9}  ({estimate.low:.3f} to {estimate.high:.3f})"


def _value(name: str, estimate: Estimate) -> str:
    if estimate.value is None or (estimate.reason or "").startswith(BY_CONVENTION):
        return "-"
    return f"{100 * estimate.value:.2f} %" if is_share(name) else f"{estimate.value:.4f}"


def _name(name: str) -> str:
    name = printable(name)
    return name if len(name) <= _NAME else name[: _NAME - 1] + "…"


def _many(count: int, noun: str) -> str:
    plural = {"class": "classes"}.get(noun, noun + "s")
    return f"{count:,} {noun if count == 1 else plural}"


def predictions_csv(
    file: TextIO,
    names: Iterable[object],
    label: np.ndarray,
    prediction: np.ndarray,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    *,
    first_column: str = "index",
    groups: Sequence[str] | None = None,
) -> bool:
    """Writes a line for each example: its name, label, prediction and each class's probability.

    file: open for text with newline="" (and errors="surrogateescape" where names are paths).
    names: N paths or numbers; first_column: "path" or "index".
    label, prediction: int[N]; probabilities: float[N, K], written to 6 significant digits.
    groups: N names, which stand in a column before the probabilities.
    Columns: first_column, label, prediction[, group], and p_<class> of each class. Above 20 million
    probabilities only p_label and p_prediction are written. Returns whether all were.
    """
    complete = probabilities.size <= _PROBABILITIES
    columns = class_names if complete else ("label", "prediction")
    header = [first_column, "label", "prediction", *["group"] * (groups is not None)]
    header += [f"p_{name}" for name in columns]
    file.write(",".join(map(_cell, header)) + "\n")
    cells = [_cell(name) for name in class_names]
    row = ",".join(["%.6g"] * len(columns)) + "\n"
    known = repeat("") if groups is None else (f"{_cell(group)}," for group in groups)
    examples = zip(names, label, prediction, probabilities, strict=True)
    for (name, own, called, share), group in zip(examples, known, strict=False):
        shown = share if complete else share[[own, called]]
        start = f"{_cell(name)},{cells[own]},{cells[called]},{group}"
        file.write(start + row % tuple(shown.tolist()))
    return complete


def _cell(content: object) -> str:
    """A cell as in RFC 4180: quoted where it holds a comma, a quote or a line break."""
    text = str(content)
    if any(mark in text for mark in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
