"""Several trained models side by side: a page, and a table for a terminal."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from jaxcnn.errors import printable
from jaxcnn.report.page import Html, Section, chart, join, page, paragraph, table
from jaxcnn.report.style import Chart
from jaxcnn.report.tables import ANSWERS, compared_table, show

if TYPE_CHECKING:
    from jaxcnn.analysis.intervals import Estimate
    from jaxcnn.analysis.paired import Comparison

# Below this a difference is not called luck.
_LEVEL = 0.05
_COLUMNS = ("accuracy", "loss", "f1_macro", "expected_calibration_error")


class Pair(NamedTuple):
    """Two runs on the same images. p_value: of McNemar's exact test, adjusted by Holm's method."""

    first: str
    second: str
    comparison: "Comparison"
    p_value: float | None


class Compared(NamedTuple):
    """The content of a comparison, by the names of the runs.

    facts: what else of each run's `metrics.json` is compared. different: pairs of runs that were
    tested on different images. config: the values of all runs by each key in which they differ.
    """

    metrics: Mapping[str, Mapping[str, "Estimate"]]
    facts: Mapping[str, Mapping[str, object]]
    pairs: Sequence[Pair]
    different: Sequence[tuple[str, str]]
    config: Mapping[str, Sequence[str]]
    curves: Chart


def verdict(pair: Pair) -> str:
    """The result of a pair, in one sentence."""
    estimate, p_value = pair.comparison.accuracy_difference, pair.p_value
    if p_value is None or estimate.value is None:
        return f"{pair.first} and {pair.second} have no image to be compared on."
    ahead, behind = pair.second, pair.first
    if estimate.value < 0:
        ahead, behind = behind, ahead
    chance = f"p = {p_value:.2g}"
    if p_value >= _LEVEL:
        return f"{ahead} and {behind} differ no more than luck explains ({chance})."
    return f"{ahead} is better than {behind} by {_points(abs(estimate.value))} ({chance})."


def compare_page(content: Compared) -> str:
    """The HTML of one file without anything from elsewhere."""
    lead = join(
        [
            *(paragraph(verdict(pair), kind="verdict") for pair in content.pairs),
            *(
                paragraph(f"{first} and {second} were tested on different images.")
                for first, second in content.different
            ),
        ]
    )
    sections = [
        Section(
            "The numbers",
            join(
                [
                    compared_table(content.metrics, (*ANSWERS, "expected_calibration_error")),
                    _facts(content),
                ]
            ),
            "Each with its 95 % interval. Intervals that overlap do not mean that models are "
            "equal: the next table compares them image by image.",
        ),
        Section(
            "Image by image",
            _pairs_table(content.pairs),
            "Images that only one of two models has right decide. p is the chance of a difference "
            "as large as this if neither is better; it is adjusted for the number of pairs.",
        ),
        Section(
            "Training",
            chart(*content.curves),
            "Validation loss and accuracy of each run over its epochs.",
        ),
        Section(
            "What the configs differ in",
            _config(content),
            "Keys that are the same in all runs are left out.",
        ),
    ]
    title = "Comparison of " + ", ".join(content.metrics)
    return page(title, sections, lead, "Made by jaxcnn.")


def compare_text(content: Compared) -> str:
    """A comparison as a text for a terminal."""
    width = max(len(name) for name in content.metrics)
    titles = [name.removesuffix("_macro").replace("expected_", "") for name in _COLUMNS]
    lines = ["run".ljust(width) + "".join(f"  {t.replace('_', ' '):>17}" for t in titles)]
    for name, metrics in content.metrics.items():
        cells = [show(metric, metrics[metric]) for metric in _COLUMNS]
        lines.append(name.ljust(width) + "".join(f"  {cell:>17}" for cell in cells))
    lines += ["", *(verdict(pair) for pair in content.pairs)]
    lines += [f"{a} and {b} were tested on different images." for a, b in content.different]
    return "\n".join(map(printable, lines))


def _facts(content: Compared) -> Html:
    keys = list(next(iter(content.facts.values())))
    rows = [(key.replace("_", " "), *(f[key] for f in content.facts.values())) for key in keys]
    return table(("", *content.facts), rows)


def _pairs_table(pairs: Sequence[Pair]) -> Html:
    if not pairs:
        return Html("")
    header = ("A", "B", "only A right", "only B right", "accuracy B - A", "loss B - A", "p (Holm)")
    rows = [
        (
            pair.first,
            pair.second,
            pair.comparison.only_a,
            pair.comparison.only_b,
            _difference(pair.comparison.accuracy_difference, points=True),
            _difference(pair.comparison.loss_difference, points=False),
            "–" if pair.p_value is None else f"{pair.p_value:.2g}",
        )
        for pair in pairs
    ]
    return table(header, rows)


def _config(content: Compared) -> Html:
    if not content.config:
        return paragraph("Nothing.")
    rows = [(key, *values) for key, values in content.config.items()]
    return table(("key", *content.metrics), rows)


def _difference(estimate: "Estimate | None", points: bool) -> str:
    if estimate is None or estimate.value is None:
        return "–"
    written = _points if points else "{:+.3f}".format
    if estimate.low is None or estimate.high is None:
        return written(estimate.value)
    return f"{written(estimate.value)} ({written(estimate.low)} to {written(estimate.high)})"


def _points(share: float) -> str:
    """Percentage points."""
    return f"{100 * share:+.2f} points" if share < 0 else f"{100 * share:.2f} points"
