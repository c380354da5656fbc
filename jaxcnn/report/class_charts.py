"""Charts of classes: what is taken for what, how good each is; and of robustness. Legible for ten
classes and for a thousand.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxcnn.report.style import (
    LIGHT,
    MARKERS,
    Theme,
    color_map,
    dress,
    dress_legend,
    ink_on,
    name_ticks,
    new_figure,
    percent_ticks,
    short_name,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

    from jaxcnn.analysis.intervals import Estimate
    from jaxcnn.analysis.measure import Measured

# Classes whose cells carry numbers; names along a side; cells along a side.
_NUMBERED, _NAMES, _CELLS = 20, 40, 250
# Classes that are all shown, and of more: the worst and the best.
_ALL, _WORST, _BEST = 30, 20, 10
# Shares are raised to this power before they are coloured.
_LIFT = 0.35
_METRICS = ("precision", "recall", "f1")


def confusion_chart(
    confusion: np.ndarray,
    class_names: Sequence[str],
    order: np.ndarray | None = None,
    theme: Theme = LIGHT,
) -> "Figure":
    """How often each class is taken for each.

    confusion: int[K, K], rows: the label. order: int[K], of classes along both sides.
    Up to 20 classes the cells carry counts. Of more than 250 several classes share a cell, which
    shows the largest share among them.
    """
    order = np.arange(len(confusion)) if order is None else np.asarray(order)
    confusion = np.asarray(confusion)[np.ix_(order, order)]
    names = [class_names[k] for k in order.tolist()]
    count = len(names)
    share = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    side = min(8.4, max(3.6, 2.4 + 0.36 * count)) if count <= _NUMBERED else 8.4
    height = side if count <= _NUMBERED else 0.92 * side
    figure = new_figure(theme, side, height, _confusion_told(confusion))
    axes = figure.subplots()
    every, together = -(-count // _NAMES), -(-count // _CELLS)
    reordered = bool((order != np.arange(count)).any())
    title = _confusion_title(count, every, together, reordered)
    dress(axes, theme, title, x="predicted", y="label")
    axes.grid(visible=False)
    image = _heat(axes, theme, _pooled(share, together))
    if count <= _NUMBERED:
        _write_counts(axes, theme, confusion, share)
    else:
        shares = {0: "0", 0.01: "1 %", 0.1: "10 %", 0.5: "50 %", 1: "100 %"}
        bar = figure.colorbar(image, ax=axes, shrink=0.5, aspect=30, ticks=list(shares))
        bar.ax.set_yticklabels(shares.values())
        bar.ax.tick_params(colors=theme.soft, labelsize=8, length=0)
        bar.outline.set_visible(False)
        bar.set_label("share of the label's images", color=theme.soft, fontsize=9)
    named = {float(k // together): short_name(names[k], 18) for k in range(0, count, every)}
    turn = 0 if max(map(len, named.values())) <= 3 and count <= _NUMBERED else 45
    name_ticks(axes, "x", named, 90 if count > _NUMBERED else turn)
    name_ticks(axes, "y", named)
    axes.tick_params(labelsize=9 if count <= _NUMBERED else 6.5)
    return figure


def _confusion_title(count: int, every: int, together: int, reordered: bool) -> str:
    told = f"Confusion matrix, {count:,} class{'es' * (count > 1)}"
    if reordered:
        told += ", those taken for each other side by side"
    if every > 1:
        told += f", 1 in {every} named"
    if together > 1:
        told += f"\na cell is {together} x {together} classes and shows their largest share"
    return told


def _pooled(share: np.ndarray, together: int) -> np.ndarray:
    """The largest of each block of `together` x `together` cells: what is rare stays in sight."""
    count = -(-len(share) // together)
    padded = np.zeros((count * together,) * 2)
    padded[: len(share), : len(share)] = share
    return padded.reshape(count, together, count, together).max(axis=(1, 3))


def _heat(axes: "Axes", theme: Theme, share: np.ndarray) -> "AxesImage":
    """Shares 0..1 as colours; small ones are lifted so that they can be seen."""
    from matplotlib.colors import PowerNorm

    for spine in axes.spines.values():
        spine.set_visible(True)
    norm = PowerNorm(_LIFT, 0, 1)
    return axes.imshow(share, cmap=color_map(theme), norm=norm, interpolation="nearest")


def _write_counts(axes: "Axes", theme: Theme, confusion: np.ndarray, share: np.ndarray) -> None:
    size = 10 if len(confusion) <= 12 and confusion.max(initial=0) < 1000 else 7
    lines = np.arange(len(confusion) - 1) + 0.5
    axes.hlines(lines, -0.5, len(confusion) - 0.5, color=theme.grid, linewidth=0.6)
    axes.vlines(lines, -0.5, len(confusion) - 0.5, color=theme.grid, linewidth=0.6)
    for (row, column), value in np.ndenumerate(confusion):
        if value:
            color = ink_on(theme, float(share[row, column]) ** _LIFT)
            axes.text(column, row, f"{value}", ha="center", va="center", color=color, fontsize=size)


def _confusion_told(confusion: np.ndarray) -> str:
    total, right = int(confusion.sum()), int(np.trace(confusion))
    return (
        f"Confusion matrix of {len(confusion):,} classes: {right:,} of {total:,} images are on the "
        "diagonal, where the prediction is the label. The table of confusions lists the others."
    )


def class_bars(measured: "Measured", theme: Theme = LIGHT) -> "Figure":
    """Precision, recall and F1 of each class with their intervals, the worst F1 first.

    Of more than 30 classes the 20 worst and the 10 best. Classes without images are left out.
    """
    names = list(measured.classes)
    scored = [
        (estimate.value, k)
        for k, name in enumerate(names)
        if measured.support[k] > 0 and (estimate := measured.classes[name]["f1"]).value is not None
    ]
    ranked = [names[k] for _, k in sorted(scored)]
    every = len(ranked) <= _ALL
    shown = ranked if every else ranked[:_WORST] + ranked[-_BEST:]
    title = f"The {_WORST} worst and the {_BEST} best of {len(ranked):,} classes by F1"
    title = "Classes by F1, the worst first" if every else title
    if absent := len(names) - len(ranked):
        title += f" ({absent:,} without images left out)"
    told = f"{title}: " + "; ".join(
        f"{short_name(name)} {measured.classes[name]['f1'].value:.2f}" for name in shown
    )
    figure = new_figure(theme, 8.4, 1.5 + 0.3 * max(len(shown), 2), told)
    axes = figure.subplots()
    rows = [measured.classes[name] for name in shown]
    starts = _start(rows)
    dress(axes, theme, title, x="" if starts == 0 else f"the axis starts at {100 * starts:.0f} %")
    axes.grid(visible=False, axis="y")
    for number, metric in enumerate(_METRICS):
        offset = 0.24 * (number - 1)
        _dots(axes, theme, number, [row[metric] for row in rows], offset, metric)
    for line in range(len(shown) - 1):
        gap = not every and line == _WORST - 1
        axes.axhline(line + 0.5, color=theme.soft if gap else theme.grid, lw=1.2 if gap else 0.6)
    percent_ticks(axes, "x")
    spread = 0.03 * (1 - starts)
    axes.set(xlim=(starts - spread, 1 + spread), ylim=(max(len(shown), 1) - 0.5, -0.5))
    name_ticks(axes, "y", {float(i): short_name(name, 28) for i, name in enumerate(shown)})
    dress_legend(axes, theme, outside="lower center", ncols=3)
    return figure


def _start(rows: Sequence[Mapping[str, "Estimate"]]) -> float:
    """Where the axis starts: the tenth below the least that is drawn."""
    least = [
        value.low if value.low is not None else value.value
        for row in rows
        for value in (row[metric] for metric in _METRICS)
    ]
    return float(np.floor(min([x for x in least if x is not None], default=0) * 10) / 10)


def _dots(
    axes: "Axes",
    theme: Theme,
    number: int,
    estimates: Sequence["Estimate"],
    offset: float,
    label: str,
) -> None:
    color = theme.lines[number]
    for place, (value, low, high, *_) in enumerate(estimates):
        if value is not None and low is not None and high is not None:
            axes.plot((low, high), (place + offset,) * 2, color=color, linewidth=1.2)
    known = [(e.value, i + offset) for i, e in enumerate(estimates) if e.value is not None]
    if known:
        x, y = zip(*known, strict=True)
        name = "F1" if label == "f1" else label
        axes.plot(x, y, MARKERS[number], color=color, ms=5.5, label=name)


def robustness_chart(
    results: Mapping[str, Sequence[float]], clean: float | None = None, theme: Theme = LIGHT
) -> "Figure":
    """Accuracy under each corruption at severities 1 to 5, the most harmful first.

    results: accuracies in 0..1 by the corruption's name; clean: without any, the line above all.
    """
    order = sorted(results, key=lambda name: float(np.mean(results[name])))
    lines = [(name.replace("_", " "), list(results[name])) for name in order]
    if clean is not None:
        width = max((len(values) for _, values in lines), default=1)
        lines.insert(0, ("clean", [clean] * width))
    told = "; ".join(f"{name} {100 * np.mean(values):.0f} %" for name, values in lines)
    figure = new_figure(
        theme, 6.4, 1.2 + 0.3 * len(lines), f"Accuracy, the mean of all severities: {told}."
    )
    axes = figure.subplots()
    dress(axes, theme, "Accuracy in % under corruption", x="severity")
    axes.grid(visible=False)
    values = np.array([row for _, row in lines], np.float64)
    axes.imshow(
        values, cmap=color_map(theme), vmin=0, vmax=1, aspect="auto", interpolation="nearest"
    )
    for (row, column), value in np.ndenumerate(values):
        color = ink_on(theme, value)
        axes.text(
            column, row, f"{100 * value:.1f}", ha="center", va="center", color=color, fontsize=8.5
        )
    if clean is not None:
        axes.axhline(0.5, color=theme.paper, linewidth=3)
    name_ticks(axes, "x", {float(i): str(i + 1) for i in range(values.shape[1])})
    name_ticks(axes, "y", {float(i): short_name(name, 26) for i, (name, _) in enumerate(lines)})
    return figure
