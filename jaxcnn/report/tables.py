"""Tables of what was measured, for a page."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from jaxcnn.report.page import Html, Number, details, join, paragraph, table, text

if TYPE_CHECKING:
    from jaxcnn.analysis.intervals import Estimate
    from jaxcnn.analysis.measure import Measured

# Rows of a table that are not folded, and rows that a page holds.
SHOWN, MOST = 20, 1000
# Confusions that are not folded.
_CONFUSIONS = 10
# Numbers that are not read as percentages.
_PLAIN = ("loss", "brier", "cohen_kappa", "matthews")

# Metric: its title, and what it tells a newcomer.
_METRICS = {
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
_CLASS_METRICS = ("precision", "recall", "f1", "roc_auc", "average_precision")
_GROUP_METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "loss")
# What test-time augmentation may change, and what a temperature does.
ANSWERS = ("accuracy", "top5_accuracy", "balanced_accuracy", "f1_macro", "loss", "brier")
PROBABILITIES = ("loss", "brier", "expected_calibration_error")
_TITLES = {"f1": "F1", "f1_macro": "F1", "roc_auc": "ROC-AUC"}


def metrics_table(measured: "Measured") -> Html:
    """The numbers of the whole split; those that repeat or refine others are folded."""
    header = ("", "value", "95 % interval", "what it says")
    found = measured.metrics
    first = [
        (
            title,
            Number(show(name, found[name])),
            Number(_interval(name, found[name])),
            _said(told, found[name]),
        )
        for name, (title, told) in _METRICS.items()
        if name in found
    ]
    rest = [
        (
            name.replace("_", " "),
            Number(show(name, value)),
            Number(_interval(name, value)),
            value.reason or "",
        )
        for name, value in found.items()
        if name not in _METRICS
    ]
    more = [details("Other averages", table(header, rest))] if rest else []
    return join([table(header, first), *more])


def classes_table(measured: "Measured") -> Html:
    """Each class's numbers with their intervals, in the order of the classes."""
    header = ("class", "images", *(_title(metric) for metric in _CLASS_METRICS))
    rows = [
        (
            name,
            int(measured.support[k]),
            *(cell(metric, found[metric]) for metric in _CLASS_METRICS),
        )
        for k, (name, found) in enumerate(measured.classes.items())
    ]
    return folded(header, rows, "classes")


def confusions_table(measured: "Measured") -> Html:
    """The most frequent mistakes."""
    names = list(measured.classes)
    rows = [
        (names[c.label], names[c.prediction], c.count, Number(f"{100 * c.share:.1f} %"))
        for c in measured.confusions
    ]
    if not rows:
        return paragraph("No image is taken for another class.")
    header = ("label", "taken for", "images", "of the label's images")
    more = [details(f"{len(rows) - _CONFUSIONS} more", table(header, rows[_CONFUSIONS:]))]
    parts = [table(header, rows[:_CONFUSIONS], "The most common mistakes")]
    return join(parts + more * (len(rows) > _CONFUSIONS))


def groups_table(measured: "Measured") -> Html:
    """Each group's numbers, the least accurate first."""
    order = sorted(measured.groups, key=lambda name: measured.groups[name]["accuracy"].value or 0.0)
    header = ("group", "images", *(_title(metric) for metric in _GROUP_METRICS))
    rows = [
        (
            name,
            measured.group_sizes[name],
            *(cell(metric, measured.groups[name][metric]) for metric in _GROUP_METRICS),
        )
        for name in order
    ]
    return folded(header, rows, "groups")


def compared_table(found: Mapping[str, Mapping[str, "Estimate"]], metrics: Sequence[str]) -> Html:
    """The same images measured in several ways, side by side, by what each way is called."""
    rows = [
        (_METRICS[name][0], *(cell(name, one[name]) for one in found.values()))
        for name in metrics
        if all(name in one for one in found.values())
    ]
    return table(("", *found), rows)


def estimates_table(estimates: Mapping[str, "Estimate"], what: str) -> Html:
    """Numbers by their names, with intervals or the reason why there are none."""
    rows = [
        (name, cell("accuracy", found), found.reason or "") for name, found in estimates.items()
    ]
    return table((what, "value", "note"), rows)


def folded(header: Sequence[object], rows: Sequence[Sequence[object]], noun: str) -> Html:
    """A table that is folded where it is long; a page does not hold more than a thousand rows."""
    if len(rows) <= SHOWN:
        return table(header, rows)
    told = f"All {len(rows):,} {noun}"
    if len(rows) > MOST:
        told = f"{MOST:,} of {len(rows):,} {noun}; the files beside this page have them all"
    return details(told, table(header, rows[:MOST]))


def cell(name: str, found: "Estimate") -> Number:
    """A value with its interval below."""
    between = _interval(name, found)
    return Number(
        f"{text(show(name, found))}"
        + (f'<br><span class="between">{between}</span>' * bool(between))
    )


def show(name: str, found: "Estimate") -> str:
    """A value as it is read: a percentage, or a plain number; "–" where there is none."""
    return "–" if found.value is None else _number(name, found.value)


def _interval(name: str, found: "Estimate") -> str:
    if found.low is None or found.high is None:
        return ""
    return f"{_number(name, found.low).removesuffix(' %')} to {_number(name, found.high)}"


def is_share(name: str) -> bool:
    """Whether a metric is read as a percentage."""
    return not name.startswith(_PLAIN)


def _number(name: str, value: float) -> str:
    return f"{100 * value:.1f} %" if is_share(name) else f"{value:.3f}"


def _said(told: str, found: "Estimate") -> Html:
    if found.reason is None:
        return text(told)
    why = "not defined" if found.value is None else "no interval"
    return Html(f'{text(told)}<br><span class="between">{why}: {text(found.reason)}</span>')


def _title(metric: str) -> str:
    return _TITLES.get(metric, metric.replace("_", " "))
