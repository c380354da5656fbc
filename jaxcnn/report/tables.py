"""Tables of what was measured, for a page."""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from jaxcnn.analysis.tables import METRICS, is_share
from jaxcnn.report.page import Html, Number, details, join, paragraph, table, text

if TYPE_CHECKING:
    from jaxcnn.analysis.intervals import Estimate
    from jaxcnn.analysis.measure import Measured

# Rows of a table that are not folded, and rows that a page holds; confusions that are not folded.
SHOWN, MOST, _CONFUSIONS = 20, 1000, 10
_CLASS_METRICS = ("precision", "recall", "f1", "roc_auc", "average_precision")
_GROUP_METRICS = ("accuracy", "balanced_accuracy", "f1_macro", "loss")
# What test-time augmentation may change.
ANSWERS = ("accuracy", "top5_accuracy", "balanced_accuracy", "f1_macro", "loss", "brier")


def metrics_table(measured: "Measured") -> Html:
    """The numbers of the whole split; those that repeat or refine others are folded."""

    def row(name: str, title: str, meaning: str) -> tuple[object, ...]:
        estimate = measured.metrics[name]
        note = text(meaning)
        if estimate.reason is not None:
            lack = "not defined: " if estimate.value is None else "no interval: "
            below = "<br>" if meaning else ""
            note = Html(f'{note}{below}<span class="between">{lack}{text(estimate.reason)}</span>')
        return title, Number(show(name, estimate)), Number(_interval(name, estimate)), note

    header = ("", "value", "95 % interval", "what it says")
    first = [row(name, *words) for name, words in METRICS.items() if name in measured.metrics]
    others = [name for name in measured.metrics if name not in METRICS]
    rest = table(header, [row(name, name.replace("_", " "), "") for name in others])
    return join([table(header, first), details("Other averages", rest) if others else ""])


def classes_table(measured: "Measured") -> Html:
    """Each class's numbers with their intervals, in the order of the classes."""
    rows = zip(measured.classes, measured.support.tolist(), measured.classes.values(), strict=True)
    return _parts_table("class", "classes", _CLASS_METRICS, rows)


def groups_table(measured: "Measured") -> Html:
    """Each group's numbers, the least accurate first."""
    groups = sorted(measured.groups.items(), key=lambda item: item[1]["accuracy"].value or 0.0)
    rows = [(name, measured.group_sizes[name], metrics) for name, metrics in groups]
    return _parts_table("group", "groups", _GROUP_METRICS, rows)


def _parts_table(
    one: str,
    many: str,
    metrics: Sequence[str],
    parts: Iterable[tuple[str, int, Mapping[str, "Estimate"]]],
) -> Html:
    """A row for each part of the images: its name, its size, its metrics."""
    titles = {"f1": "F1", "f1_macro": "F1", "roc_auc": "ROC-AUC"}
    header = (one, "images", *(titles.get(name, name.replace("_", " ")) for name in metrics))
    rows = [(name, size, *(cell(m, own[m]) for m in metrics)) for name, size, own in parts]
    return folded(header, rows, many)


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
    first, rest = rows[:_CONFUSIONS], rows[_CONFUSIONS:]
    more = details(f"{len(rows) - _CONFUSIONS} more", table(header, rest)) if rest else ""
    return join([table(header, first, "The most common mistakes"), more])


def compared_table(ways: Mapping[str, Mapping[str, "Estimate"]], metrics: Sequence[str]) -> Html:
    """The same images measured in several ways, side by side, by what each way is called."""
    rows = [
        (METRICS[name][0], *(cell(name, one[name]) for one in ways.values()))
        for name in metrics
        if all(name in one for one in ways.values())
    ]
    return table(("", *ways), rows)


def estimates_table(estimates: Mapping[str, "Estimate"], what: str) -> Html:
    """Numbers by their names, with intervals or the reason why there are none."""
    rows = [(name, cell("accuracy", one), one.reason or "") for name, one in estimates.items()]
    return table((what, "value", "note"), rows)


def folded(header: Sequence[object], rows: Sequence[Sequence[object]], noun: str) -> Html:
    """A table that is folded where it is long; a page does not hold more than a thousand rows."""
    if len(rows) <= SHOWN:
        return table(header, rows)
    title = f"All {len(rows):,} {noun}"
    if len(rows) > MOST:
        title = f"{MOST:,} of {len(rows):,} {noun}; the files beside this page have them all"
    return details(title, table(header, rows[:MOST]))


def cell(name: str, estimate: "Estimate") -> Number:
    """A value with its interval below."""
    below = _interval(name, estimate)
    return Number(
        text(show(name, estimate)) + f'<br><span class="between">{below}</span>' * bool(below)
    )


def show(name: str, estimate: "Estimate") -> str:
    """A value as it is read: a percentage, or a plain number; "–" where there is none."""
    return "–" if estimate.value is None else number(name, estimate.value)


def _interval(name: str, estimate: "Estimate") -> str:
    if estimate.low is None or estimate.high is None:
        return ""
    return f"{number(name, estimate.low).removesuffix(' %')} to {number(name, estimate.high)}"


def number(name: str, value: float, digits: int = 1) -> str:
    """A metric's value. digits: of a percentage, after the point; a plain number has two more."""
    return f"{100 * value:.{digits}f} %" if is_share(name) else f"{value:.{digits + 2}f}"
