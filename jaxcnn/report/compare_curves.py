"""The curves of several runs in one chart."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from jaxcnn.report.charts import series
from jaxcnn.report.style import (
    LIGHT,
    MARKERS,
    Theme,
    dress,
    dress_legend,
    new_figure,
    percent_ticks,
    short_name,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_MARKS = 30
_STYLES = ("-", "--", ":", "-.")


def compared_curves(
    histories: Mapping[str, Sequence[Mapping[str, Any]]], theme: Theme = LIGHT
) -> "Figure":
    """Loss and accuracy on validation over epochs, a line for each run; of runs without
    validation those on train.

    histories: the objects of metrics.jsonl by the run's name.
    """
    told = "Line charts of loss and accuracy over the epochs of " + ", ".join(histories) + "."
    figure = new_figure(theme, 8.4, 3.6, told)
    splits = {
        name: "validation" if any(row.get("split") == "validation" for row in rows) else "train"
        for name, rows in histories.items()
    }
    for axes, metric in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        dress(axes, theme, f"Validation {metric}", x="epoch")
        for number, (name, rows) in enumerate(histories.items()):
            epoch, value = series(rows, splits[name], metric)
            mark = MARKERS[number % len(MARKERS)] if len(epoch) <= _MOST_MARKS else ""
            axes.plot(
                epoch,
                value,
                _STYLES[number % len(_STYLES)],
                color=theme.lines[number % len(theme.lines)],
                linewidth=1.8,
                marker=mark,
                ms=4,
                label=short_name(name) + (" (train)" if splits[name] == "train" else ""),
            )
    percent_ticks(figure.axes[1], "y")
    dress_legend(figure.axes[0], theme, outside="lower center", ncols=min(4, len(histories)))
    return figure
