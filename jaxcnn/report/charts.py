"""Charts of a run and of its probabilities: each function draws a Matplotlib figure in one theme.

png = to_png(curves(history, LIGHT))      # a file
both = in_both_themes(lambda theme: curves(history, theme))      # for a page
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

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
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jaxcnn.analysis.calibration import Reliability

_SPLITS = ("train", "validation", "test")
# With more points than this a line carries no marks, and with a loss that falls further than this
# its axis is logarithmic.
_MOST_MARKS, _LARGE_RATIO = 30, 30.0
# Classes told apart in a legend, and points drawn.
_LEGEND, _POINTS = 20, 5000


def curves(
    history: Sequence[Mapping[str, Any]], theme: Theme = LIGHT, best_step: int | None = None
) -> "Figure":
    """Loss and accuracy of each split over epochs, and the learning rate below.

    history: the objects of metrics.jsonl: step, epoch, split, loss, accuracy and, where the split
      is train, learning_rate; numbers that are not finite are left out.
    best_step: of the checkpoint that was kept; it is marked.
    """
    present = [split for split in _SPLITS if any(row.get("split") == split for row in history)]
    figure = new_figure(theme, 8.4, 4.6, _curves_told(history, present))
    grid = figure.add_gridspec(2, 2, height_ratios=(3, 1))
    best = [float(row["epoch"]) for row in history if row.get("step") == best_step]
    for column, (metric, title) in enumerate((("loss", "Loss"), ("accuracy", "Accuracy"))):
        axes = figure.add_subplot(grid[0, column])
        dress(axes, theme, title)
        for split in present:
            _line(axes, theme, history, split, metric)
        if best:
            axes.axvline(
                best[0], color=theme.soft, linewidth=1, linestyle=":", label="checkpoint kept"
            )
        dress_legend(axes, theme)
        if metric == "loss":
            _choose_scale(axes, history)
        else:
            percent_ticks(axes, "y")
    axes = figure.add_subplot(grid[1, :])
    dress(axes, theme, "Learning rate", x="epoch")
    epoch, rate = series(history, "train", "learning_rate")
    axes.plot(epoch, rate, color=theme.ink, linewidth=1.4, marker="." if len(epoch) < 3 else "")
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    axes.yaxis.get_offset_text().set(color=theme.soft, fontsize=8)
    axes.margins(x=0.01)
    if best:
        axes.axvline(best[0], color=theme.soft, linewidth=1, linestyle=":")
    return figure


def _line(
    axes: "Axes", theme: Theme, history: Sequence[Mapping[str, Any]], split: str, metric: str
) -> None:
    epoch, value = series(history, split, metric)
    number = _SPLITS.index(split)
    mark = MARKERS[number] if len(epoch) <= _MOST_MARKS else ""
    style, width = ("-", "-", "--")[number], (1.2, 2.0, 1.6)[number]
    color = (theme.lines[4], theme.lines[0], theme.lines[1])[number]
    axes.plot(epoch, value, style, color=color, linewidth=width, marker=mark, ms=4, label=split)
    axes.margins(x=0.02)


def _choose_scale(axes: "Axes", history: Sequence[Mapping[str, Any]]) -> None:
    values = np.concatenate([series(history, split, "loss")[1] for split in _SPLITS])
    if len(values) and values.min() > 0 and values.max() / values.min() > _LARGE_RATIO:
        axes.set_yscale("log")


def series(
    history: Sequence[Mapping[str, Any]], split: str, metric: str
) -> tuple[np.ndarray, np.ndarray]:
    pairs = [
        (row["epoch"], row[metric])
        for row in history
        if row.get("split") == split and row.get(metric) is not None
    ]
    table = np.array(pairs, np.float64).reshape(-1, 2)
    table = table[np.isfinite(table).all(axis=1)]
    return table[:, 0], table[:, 1]


def _curves_told(history: Sequence[Mapping[str, Any]], present: Sequence[str]) -> str:
    parts = []
    for split in present:
        accuracy, loss = (series(history, split, metric)[1] for metric in ("accuracy", "loss"))
        if len(loss):
            parts.append(f"{split} loss goes from {loss[0]:.3g} to {loss[-1]:.3g}")
        if len(accuracy):
            parts.append(
                f"{split} accuracy from {100 * accuracy[0]:.1f} to {100 * accuracy[-1]:.1f} %"
            )
    return "Line charts over the epochs of training: " + ("; ".join(parts) or "no values") + "."


def reliability_chart(
    reliability: "Reliability",
    ece: float | None,
    temperature: float | None = None,
    theme: Theme = LIGHT,
) -> "Figure":
    """Accuracy against confidence, and how many predictions have each confidence.

    ece: the expected calibration error; temperature: that the logits were divided by, if any.
    """
    count = np.asarray(reliability.count)
    used = count > 0
    edges = np.linspace(0, 1, len(count) + 1)
    middle, width = (edges[:-1] + edges[1:])[used] / 2, edges[1] * 0.92
    accuracy, confidence = reliability.accuracy[used], reliability.confidence[used]
    told = "" if ece is None else f"expected calibration error {100 * ece:.1f} %"
    if temperature is not None:
        told += f"{', ' if told else ''}temperature {temperature:.3g}"
    figure = new_figure(theme, 5.6, 5.4, _reliability_told(accuracy, confidence, count, told))
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    dress(top, theme, told[:1].upper() + told[1:], y="accuracy")
    top.plot([0, 1], [0, 1], "--", color=theme.soft, linewidth=1.2, label="as sure as right")
    top.bar(middle, accuracy, width, color=theme.lines[0], label="accuracy")
    left, right = middle - width / 2, middle + width / 2
    style = {"color": theme.lines[1], "linewidth": 3}
    top.hlines(confidence, left, right, label="mean confidence", **style)
    top.set(xlim=(0, 1), ylim=(0, 1.02))
    percent_ticks(top, "y")
    percent_ticks(top, "x")
    dress_legend(top, theme, loc="upper left")
    dress(bottom, theme, x="confidence: probability of the predicted class", y="images")
    bottom.bar(middle, count[used], width, color=theme.soft)
    if used.any() and count.max() > 50 * count[used].min():
        bottom.set_yscale("log")
        bottom.set_ylim(bottom=0.7)
    return figure


def _reliability_told(
    accuracy: np.ndarray, confidence: np.ndarray, count: np.ndarray, told: str
) -> str:
    start = f"Reliability diagram of {int(count.sum()):,} predictions"
    if not len(accuracy):
        return f"{start}."
    gap = float(np.average(confidence - accuracy, weights=count[count > 0]))
    way = "too sure" if gap > 0 else "not sure enough"
    return f"{start}: {told + '; ' if told else ''}on average {100 * abs(gap):.1f} % {way}."


def projection_chart(
    points: np.ndarray,
    label: np.ndarray,
    class_names: Sequence[str],
    theme: Theme = LIGHT,
    title: str = "",
) -> "Figure":
    """Examples as points, those of one class in one colour and shape.

    points: float[N, 2]; label: int[N]. Up to 20 classes have a legend; of more the colours follow
    the number of the class. More than 5,000 points are thinned evenly.
    """
    from matplotlib.colors import LinearSegmentedColormap

    kept = np.flatnonzero(np.isfinite(points).all(axis=1))
    kept = kept[np.linspace(0, len(kept) - 1, min(len(kept), _POINTS), dtype=int)]
    points, label = points[kept], label[kept]
    present = np.unique(label).tolist()
    told = f"Scatter plot of {len(points):,} images of {len(present):,} classes"
    figure = new_figure(theme, 8.0, 5.6, f"{told}; similar images are near one another.")
    axes = figure.subplots()
    dress(axes, theme, title)
    axes.tick_params(labelleft=False, labelbottom=False)
    size = max(3.0, min(28.0, 12000 / max(1, len(points))))
    if len(present) > _LEGEND:
        around = LinearSegmentedColormap.from_list("around", (*theme.lines[:4], theme.lines[0]))
        axes.scatter(points[:, 0], points[:, 1], size, label, cmap=around, linewidths=0)
        return figure
    for place, k in enumerate(present):
        color = theme.lines[place % len(theme.lines)]
        mark = MARKERS[place // len(theme.lines) % len(MARKERS)]
        own = points[label == k]
        name = short_name(class_names[k])
        axes.scatter(
            own[:, 0],
            own[:, 1],
            size,
            color=color,
            marker=mark,
            alpha=0.75,
            linewidths=0,
            label=name,
        )
    dress_legend(axes, theme, outside="right upper", markerscale=1.6)
    return figure
