"""Charts of classes: what is taken for what, how good each is; and of robustness. Legible for ten
classes and for a thousand.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxcnn.report import style
from jaxcnn.report.style import LIGHT, MARKERS, Theme, color_map, short_name

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from jaxcnn.analysis.intervals import Estimate
    from jaxcnn.analysis.measure import Measured

# Classes whose cells carry numbers; names along a side; cells along a side.
_NUMBERED, _NAMES, _CELLS = 20, 40, 250
# Classes that are all shown, and of more: the worst and the best.
_ALL, _WORST, _BEST = 30, 20, 10
# Shares are raised to this power before they are coloured: small ones can be seen.
_LIFT = 0.35
_METRICS = {"precision": "precision", "recall": "recall", "f1": "F1"}


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
    from matplotlib.colors import PowerNorm

    order = np.arange(len(confusion)) if order is None else np.asarray(order)
    confusion = np.asarray(confusion)[np.ix_(order, order)]
    count, total, right = len(order), int(confusion.sum()), int(np.trace(confusion))
    few = count <= _NUMBERED
    every, together = -(-count // _NAMES), -(-count // _CELLS)
    title = f"Confusion matrix, {count:,} class{'es' * (count > 1)}"
    if (order != np.arange(count)).any():
        title += ", those taken for each other side by side"
    if every > 1:
        title += f", 1 in {every} named"
    if together > 1:
        title += f"\na cell is {together} x {together} classes and shows their largest share"
    side = min(8.4, max(3.6, 2.4 + 0.36 * count)) if few else 8.4
    figure = style.new_figure(
        theme,
        side,
        side if few else 0.92 * side,
        f"Confusion matrix of {count:,} classes: {right:,} of {total:,} images are on the "
        "diagonal, where the prediction is the label. The table of confusions lists the others.",
    )
    axes = figure.subplots()
    style.dress(axes, theme, title, x="predicted", y="label")
    axes.grid(visible=False)
    axes.spines[:].set_visible(True)
    share = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    # The largest of each block of cells: what is rare stays in sight.
    blocks = np.pad(share, (0, -count % together)).reshape(-(-count // together), together, -1)
    cells = blocks.max(1).reshape(len(blocks), -1, together).max(2)
    image = axes.imshow(
        cells, cmap=color_map(theme), norm=PowerNorm(_LIFT, 0, 1), interpolation="nearest"
    )
    if few:
        lines = np.arange(count - 1) + 0.5
        axes.hlines(lines, -0.5, count - 0.5, color=theme.grid, linewidth=0.6)
        axes.vlines(lines, -0.5, count - 0.5, color=theme.grid, linewidth=0.6)
        size = 10 if count <= 12 and confusion.max(initial=0) < 1000 else 7
        words = [[f"{value}" if value else "" for value in row] for row in confusion.tolist()]
        _write(axes, theme, words, share**_LIFT, size)
    else:
        shares = {0: "0", 0.01: "1 %", 0.1: "10 %", 0.5: "50 %", 1: "100 %"}
        bar = figure.colorbar(image, ax=axes, shrink=0.5, aspect=30, ticks=list(shares))
        bar.ax.set_yticklabels(shares.values())
        bar.ax.tick_params(colors=theme.soft, labelsize=8, length=0)
        bar.outline.set_visible(False)
        bar.set_label("share of the label's images", color=theme.soft, fontsize=9)
    names = {
        float(k // together): short_name(class_names[order[k]], 18) for k in range(0, count, every)
    }
    turn = 90 if not few else 45 if max(map(len, names.values())) > 3 else 0
    style.name_ticks(axes, "x", names, turn)
    style.name_ticks(axes, "y", names)
    axes.tick_params(labelsize=9 if few else 6.5)
    return figure


def _write(
    axes: "Axes", theme: Theme, words: Sequence[Sequence[str]], shades: np.ndarray, size: float
) -> None:
    """Writes into the cells of a heat map. shades: float64[rows, columns], their colours, 0..1."""
    for (row, column), shade in np.ndenumerate(shades):
        if text := words[row][column]:
            color = style.ink_on(theme, shade)
            axes.text(column, row, text, ha="center", va="center", color=color, fontsize=size)


def class_bars(measured: "Measured", theme: Theme = LIGHT) -> "Figure":
    """Precision, recall and F1 of each class with their intervals, the worst F1 first.

    Of more than 30 classes the 20 worst and the 10 best. Classes without images are left out.
    """
    f1 = {
        name: value
        for (name, metrics), count in zip(measured.classes.items(), measured.support, strict=True)
        if count and (value := metrics["f1"].value) is not None
    }
    ranked = sorted(f1, key=f1.__getitem__)
    every = len(ranked) <= _ALL
    shown = ranked if every else ranked[:_WORST] + ranked[-_BEST:]
    title = f"The {_WORST} worst and the {_BEST} best of {len(ranked):,} classes by F1"
    title = "Classes by F1, the worst first" if every else title
    if absent := len(measured.classes) - len(ranked):
        title += f" ({absent:,} without images left out)"
    description = f"{title}: " + "; ".join(f"{short_name(name)} {f1[name]:.2f}" for name in shown)
    figure = style.new_figure(theme, 8.4, 1.5 + 0.3 * max(len(shown), 2), description)
    axes = figure.subplots()
    rows = [measured.classes[name] for name in shown]
    values = [row[m].value if row[m].low is None else row[m].low for row in rows for m in _METRICS]
    # The axis starts at the tenth below the least that is drawn.
    start = float(np.floor(min((x for x in values if x is not None), default=0) * 10) / 10)
    note = "" if start == 0 else f"the axis starts at {100 * start:.0f} %"
    style.dress(axes, theme, title, x=note)
    axes.grid(visible=False, axis="y")
    for number, (metric, name) in enumerate(_METRICS.items()):
        estimates = [(k + 0.24 * (number - 1), row[metric]) for k, row in enumerate(rows)]
        _dots(axes, theme, number, estimates, name)
    for line in range(len(shown) - 1):
        gap = not every and line == _WORST - 1
        axes.axhline(line + 0.5, color=theme.soft if gap else theme.grid, lw=1.2 if gap else 0.6)
    style.percent_ticks(axes, "x")
    margin = 0.03 * (1 - start)
    axes.set(xlim=(start - margin, 1 + margin), ylim=(max(len(shown), 1) - 0.5, -0.5))
    style.name_ticks(axes, "y", {float(i): short_name(name, 28) for i, name in enumerate(shown)})
    style.dress_legend(axes, theme, outside="lower center", ncols=3)
    return figure


def _dots(
    axes: "Axes",
    theme: Theme,
    number: int,
    estimates: Sequence[tuple[float, "Estimate"]],
    label: str,
) -> None:
    """Draws estimates at their heights; `number` chooses colour and mark."""
    color = theme.lines[number]
    whole = [(y, e.low, e.high) for y, e in estimates if e.low is not None and e.high is not None]
    known = [(e.value, y) for y, e in estimates if e.value is not None]
    if whole:
        axes.hlines(*zip(*whole, strict=True), color=color, linewidth=1.2)
    if known:
        axes.plot(*zip(*known, strict=True), MARKERS[number], color=color, ms=5.5, label=label)


def robustness_chart(
    results: Mapping[str, Sequence[float]], clean: float | None = None, theme: Theme = LIGHT
) -> "Figure":
    """Accuracy under each corruption at severities 1 to 5, the most harmful first.

    results: accuracies in 0..1 by the corruption's name; clean: without any, the line above all.
    """
    order = sorted(results, key=lambda name: float(np.mean(results[name])))
    lines = {name.replace("_", " "): list(results[name]) for name in order}
    if clean is not None:
        lines = {"clean": [clean] * max(map(len, lines.values()), default=1)} | lines
    listed = "; ".join(f"{name} {100 * np.mean(values):.0f} %" for name, values in lines.items())
    description = f"Accuracy, the mean of all severities: {listed}."
    figure = style.new_figure(theme, 6.4, 1.2 + 0.3 * len(lines), description)
    axes = figure.subplots()
    style.dress(axes, theme, "Accuracy in % under corruption", x="severity")
    axes.grid(visible=False)
    values = np.array(list(lines.values()), np.float64)
    axes.imshow(
        values, cmap=color_map(theme), vmin=0, vmax=1, aspect="auto", interpolation="nearest"
    )
    _write(axes, theme, [[f"{100 * x:.1f}" for x in row] for row in values], values, 8.5)
    if clean is not None:
        axes.axhline(0.5, color=theme.paper, linewidth=3)
    style.name_ticks(axes, "x", {float(i): str(i + 1) for i in range(values.shape[1])})
    style.name_ticks(axes, "y", {float(i): short_name(name, 26) for i, name in enumerate(lines)})
    return figure
