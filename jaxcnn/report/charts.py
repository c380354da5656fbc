"""Charts of runs and of their probabilities: each function draws a Matplotlib figure in one theme.

png = to_png(curves(history, LIGHT))      # a file
both = in_both_themes(lambda theme: curves(history, theme))      # for a page
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcnn.analysis.seeds import over_seeds
from jaxcnn.report import style
from jaxcnn.report.style import LIGHT, MARKERS, Theme, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jaxcnn.analysis.calibration import Reliability

# How the line of each split looks: mark, line style, width in points, number of the colour.
_SPLITS = {
    "train": ("o", "-", 1.2, 4),
    "validation": ("^", "-", 2.0, 0),
    "test": ("s", "--", 1.6, 1),
}
_STYLES = ("-", "--", ":", "-.")
# With more points than this a line carries no marks, and with a loss that falls further than this
# its axis is logarithmic.
_MOST_MARKS, _LARGE_RATIO = 30, 30.0
# Classes told apart in a legend, and points drawn; rows of dots that have room for a name each.
_LEGEND, _POINTS, _NAMED = 20, 5000, 40


def curves(
    history: Sequence[Mapping[str, Any]], theme: Theme = LIGHT, best_step: int | None = None
) -> "Figure":
    """Loss and accuracy of each split over epochs, and the learning rate below.

    history: the objects of metrics.jsonl: step, epoch, split, loss, accuracy and, where the split
      is train, learning_rate; numbers that are not finite are left out.
    best_step: of the checkpoint that was kept; it is marked.
    """
    present = [split for split in _SPLITS if any(row.get("split") == split for row in history)]
    figure = style.new_figure(theme, 8.4, 4.6, _curves_description(history, present))
    grid = figure.add_gridspec(2, 2, height_ratios=(3, 1))
    loss, accuracy = (figure.add_subplot(grid[0, column]) for column in (0, 1))
    rate = figure.add_subplot(grid[1, :])
    for axes, metric in ((loss, "loss"), (accuracy, "accuracy")):
        style.dress(axes, theme, metric.capitalize())
        axes.margins(x=0.02)
        for split in present:
            _line(axes, theme, split, series(history, split, metric), *_SPLITS[split])
    values = np.concatenate([series(history, split, "loss")[1] for split in _SPLITS])
    if len(values) and values.min() > 0 and values.max() / values.min() > _LARGE_RATIO:
        loss.set_yscale("log")
    style.percent_ticks(accuracy, "y")
    style.dress(rate, theme, "Learning rate", x="epoch")
    points = series(history, "train", "learning_rate")
    rate.plot(*points, color=theme.ink, linewidth=1.4, marker="." if points.shape[1] < 3 else "")
    rate.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    rate.yaxis.get_offset_text().set(color=theme.soft, fontsize=8)
    rate.margins(x=0.01)
    kept = [float(row["epoch"]) for row in history if row.get("step") == best_step]
    for axes in (loss, accuracy, rate):
        for epoch in kept[:1]:
            axes.axvline(epoch, color=theme.soft, lw=1, ls=":", label="checkpoint kept")
    style.dress_legend(loss, theme)
    style.dress_legend(accuracy, theme)
    return figure


def compared_curves(
    histories: Mapping[str, Sequence[Mapping[str, Any]]], theme: Theme = LIGHT
) -> "Figure":
    """Loss and accuracy on validation over epochs, a line for each run; of runs without
    validation those on train.

    histories: the objects of metrics.jsonl by the run's name.
    """
    description = f"Line charts of loss and accuracy over the epochs of {', '.join(histories)}."
    figure = style.new_figure(theme, 8.4, 3.6, description)
    for axes, metric in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        style.dress(axes, theme, f"Validation {metric}", x="epoch")
        for number, (name, history) in enumerate(histories.items()):
            validated = any(row.get("split") == "validation" for row in history)
            points = series(history, "validation" if validated else "train", metric)
            label = short_name(name) + ("" if validated else " (train)")
            mark, line = MARKERS[number % len(MARKERS)], _STYLES[number % len(_STYLES)]
            _line(axes, theme, label, points, mark, line, 1.8, number)
    style.percent_ticks(figure.axes[1], "y")
    columns = min(4, len(histories))
    style.dress_legend(figure.axes[0], theme, outside="lower center", ncols=columns)
    return figure


def _line(
    axes: "Axes",
    theme: Theme,
    label: str,
    points: np.ndarray,
    mark: str,
    line: str,
    width: float,
    number: int,
) -> None:
    """Draws points float64[2, n], with marks where they are few. number: of the colour."""
    mark = mark if points.shape[1] <= _MOST_MARKS else ""
    color = theme.lines[number % len(theme.lines)]
    axes.plot(*points, line, color=color, linewidth=width, marker=mark, ms=4, label=label)


def series(history: Sequence[Mapping[str, Any]], split: str, metric: str) -> np.ndarray:
    """Epochs and values of a split's metric, float64[2, n], those that are finite."""
    rows = [row for row in history if row.get("split") == split and row.get(metric) is not None]
    points = np.array([(row["epoch"], row[metric]) for row in rows], np.float64).reshape(-1, 2).T
    return points[:, np.isfinite(points).all(axis=0)]


def _curves_description(history: Sequence[Mapping[str, Any]], present: Sequence[str]) -> str:
    parts = []
    for split in present:
        accuracy, loss = (series(history, split, metric)[1] for metric in ("accuracy", "loss"))
        if len(loss):
            parts.append(f"{split} loss goes from {loss[0]:.3g} to {loss[-1]:.3g}")
        if len(accuracy):
            ends = f"{100 * accuracy[0]:.1f} to {100 * accuracy[-1]:.1f} %"
            parts.append(f"{split} accuracy from {ends}")
    return "Line charts over the epochs of training: " + ("; ".join(parts) or "no values") + "."


def seeds_chart(metrics: Mapping[int, Mapping[str, Any]], theme: Theme = LIGHT) -> "Figure":
    """The accuracy of each seed as a dot, their mean and its interval.

    metrics: the content of `eval.json` by seed.
    """
    seeds, accuracy = sorted(metrics), over_seeds(metrics)["accuracy"]
    rows, values = len(seeds), accuracy.values
    listed = ", ".join(f"{s} {100 * v:.2f} %" for s, v in zip(seeds, values, strict=True))
    height = 1.5 + min(0.26 * rows, 7.0)
    figure = style.new_figure(theme, 8.4, height, f"Dot plot of the accuracy by seed: {listed}.")
    axes = figure.subplots()
    style.dress(axes, theme, f"Accuracy on {metrics[seeds[0]].get('split')} images")
    axes.grid(visible=False, axis="y")
    if accuracy.low is not None and accuracy.high is not None and accuracy.low < accuracy.high:
        band: dict[str, Any] = {"color": theme.lines[0], "alpha": 0.16, "linewidth": 0}
        high = min(accuracy.high, 1.0)
        axes.axvspan(accuracy.low, high, label="95 % interval of the mean", **band)
    label = f"mean {100 * accuracy.mean:.2f} %"
    axes.axvline(accuracy.mean, color=theme.soft, linewidth=1.4, label=label)
    size = 7 if rows <= _NAMED else 4
    axes.plot(values, range(rows), "o", color=theme.lines[0], ms=size, label="a seed")
    every = -(-rows // _NAMED)
    style.name_ticks(axes, "y", {float(k): f"seed {seeds[k]}" for k in range(0, rows, every)})
    axes.set_ylim(rows - 0.4, -0.6)
    if max(values) == min(values):  # else the axis would be of the width of rounding
        axes.set_xlim(accuracy.mean - 0.01, accuracy.mean + 0.01)
    style.percent_ticks(axes, "x")
    style.dress_legend(axes, theme, outside="lower center", ncols=3)
    return figure


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
    parts = [] if ece is None else [f"expected calibration error {100 * ece:.1f} %"]
    if temperature is not None:
        parts.append(f"temperature {temperature:.3g}")
    title, description = ", ".join(parts), f"Reliability diagram of {count.sum():,} predictions"
    if len(accuracy):
        gap = float(np.average(confidence - accuracy, weights=count[used]))
        way = "too sure" if gap > 0 else "not sure enough"
        description += f": {title}{'; ' * bool(title)}on average {100 * abs(gap):.1f} % {way}"
    figure = style.new_figure(theme, 5.6, 5.4, f"{description}.")
    top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    style.dress(top, theme, title[:1].upper() + title[1:], y="accuracy")
    top.plot([0, 1], [0, 1], "--", color=theme.soft, linewidth=1.2, label="as sure as right")
    top.bar(middle, accuracy, width, color=theme.lines[0], label="accuracy")
    left, right = middle - width / 2, middle + width / 2
    mark: dict[str, Any] = {"color": theme.lines[1], "linewidth": 3}
    top.hlines(confidence, left, right, label="mean confidence", **mark)
    top.set(xlim=(0, 1), ylim=(0, 1.02))
    style.percent_ticks(top, "y")
    style.percent_ticks(top, "x")
    style.dress_legend(top, theme, loc="upper left")
    style.dress(bottom, theme, x="confidence: probability of the predicted class", y="images")
    bottom.bar(middle, count[used], width, color=theme.soft)
    if used.any() and count.max() > 50 * count[used].min():
        bottom.set_yscale("log")
        bottom.set_ylim(bottom=0.7)
    return figure


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
    description = f"Scatter plot of {len(points):,} images of {len(present):,} classes"
    figure = style.new_figure(
        theme, 8.0, 5.6, f"{description}; similar images are near one another."
    )
    axes = figure.subplots()
    style.dress(axes, theme, title)
    axes.tick_params(labelleft=False, labelbottom=False)
    size = max(3.0, min(28.0, 12000 / max(1, len(points))))
    if len(present) > _LEGEND:
        around = LinearSegmentedColormap.from_list("around", (*theme.lines[:4], theme.lines[0]))
        axes.scatter(points[:, 0], points[:, 1], size, label, cmap=around, linewidths=0)
        return figure
    for place, k in enumerate(present):
        look: dict[str, Any] = {
            "color": theme.lines[place % len(theme.lines)],
            "marker": MARKERS[place // len(theme.lines) % len(MARKERS)],
        }
        (x, y), name = points[label == k].T, short_name(class_names[k])
        axes.scatter(x, y, size, alpha=0.75, linewidths=0, label=name, **look)
    style.dress_legend(axes, theme, outside="right upper", markerscale=1.6)
    return figure
