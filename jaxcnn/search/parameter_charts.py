"""Charts of what was searched: parallel coordinates, and the value against each parameter.

Parallel coordinates: Inselberg (1985, "The plane with parallel coordinates").
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcnn.report.style import (
    LIGHT,
    Theme,
    dress,
    dress_legend,
    name_ticks,
    new_figure,
    short_name,
)
from jaxcnn.search.charts import by_value, ramp, thinned
from jaxcnn.search.scale import (
    Scale,
    parameter_scale,
    short_keys,
    trial_values,
    value_scale,
)
from jaxcnn.search.trial import Search

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Parameters that are drawn, of more the most important.
_MOST = 12
# Lines that are drawn.
_LINES = 150
# Plots in a row.
_COLUMNS = 3


def searched(search: Search) -> list[str]:
    """The keys of all trials' parameters, the most important first."""
    keys = dict.fromkeys(key for trial in search.trials for key in trial.params)
    importance = search.importance or {}
    return sorted(keys, key=lambda key: -importance.get(key, 0.0))


def parallel_coordinates_chart(search: Search, theme: Theme = LIGHT) -> "Figure":
    """A line a trial, through its parameters and its value; of more than 12 parameters the most
    important. Trials without a value are left out; of more than 150, good and bad ones are drawn
    evenly.
    """
    keys = searched(search)
    drawn = keys[:_MOST]
    scales: dict[str, Scale] = {key: parameter_scale(search, key) for key in drawn}
    names = [*(short_name(name, 20) for name in short_keys(drawn).values()), search.metric]
    width = max(8.4, 1.02 * len(names))
    figure = new_figure(theme, width, 4.6, _parallel_told(search, drawn))
    axes = figure.subplots()
    title = "A line a trial, through its parameters to its value"
    if len(keys) > len(drawn):
        title += f" ({len(drawn)} of {len(keys)} parameters)"
    dress(axes, theme, title)
    every = [*scales.values(), value_scale(search)]
    _lines(axes, theme, search, np.array([scale.places for scale in every]).T)
    for place, scale in enumerate(every):
        axes.axvline(place, color=theme.soft, linewidth=1, zorder=4)
        _write_ticks(axes, theme, place, scale)
    turn = 0 if max(map(len, names)) * len(names) <= 12 * width else 24
    name_ticks(axes, "x", {float(k): name for k, name in enumerate(names)}, turn)
    axes.tick_params(axis="x", labelcolor=theme.ink)
    axes.set(xlim=(-0.1, len(every) - 0.6), ylim=(-0.05, 1.05), yticks=[])
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    dress_legend(axes, theme, outside="lower center", ncols=3)
    return figure


def _lines(axes: "Axes", theme: Theme, search: Search, places: np.ndarray) -> None:
    """Of places float64[N, axes]: the worst first, the best on top of all."""
    from matplotlib.collections import LineCollection

    values = trial_values(search)
    order = thinned([k for k in by_value(search) if np.isfinite(values[k])], _LINES)
    across = np.arange(places.shape[1])
    lines = [np.stack([across, places[k]], 1) for k in order]
    alpha = 0.9 if len(order) <= 60 else 0.6
    axes.add_collection(
        LineCollection(lines, colors=ramp(search, theme)[order], linewidths=1.1, alpha=alpha)
    )
    for k in order:  # a value between two that are missing has no line
        if np.isnan(places[k]).any():
            axes.plot(across, places[k], "o", color=theme.lines[0], ms=3)
    label = "the more colour, the better"
    axes.plot([], [], color=theme.lines[0], linewidth=1.1, label=label)
    for k, trial in enumerate(search.trials):
        if trial is search.best:
            style: dict[str, Any] = {"color": theme.lines[1], "linewidth": 2.6, "zorder": 5}
            axes.plot(across, places[k], label=f"best: trial {trial.number}", **style)


def _write_ticks(axes: "Axes", theme: Theme, place: int, scale: Scale) -> None:
    """What stands where, on the right of an axis, with the paper around it."""
    box = {"facecolor": theme.paper, "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
    for height, written in scale.ticks.items():
        axes.plot([place - 0.02, place + 0.02], [height] * 2, color=theme.soft, lw=1, zorder=6)
        axes.annotate(
            short_name(written, 12),
            (place, height),
            (6, 0),
            textcoords="offset points",
            color=theme.ink,
            fontsize=8,
            va="center",
            bbox=box,
            zorder=7,
            parse_math=False,
        )


def _parallel_told(search: Search, keys: Sequence[str]) -> str:
    told = f"Parallel coordinates of {len(search.trials):,} trials: {', '.join(keys)}"
    best = search.best
    if best is None:
        return f"{told}; none is complete."
    return f"{told}. The best has {params_text(best.params)}."


def params_text(params: Mapping[str, Any]) -> str:
    """Parameters and their values, in a line."""
    return ", ".join(f"{key} {value}" for key, value in params.items())


def slices_chart(search: Search, theme: Theme = LIGHT) -> "Figure":
    """The value of each trial against each of its parameters; of more than 12 the most important.

    Points in one place of an axis of words are drawn side by side.
    """
    keys = searched(search)
    drawn = keys[:_MOST]
    columns = max(1, min(_COLUMNS, len(drawn)))
    rows = max(1, -(-len(drawn) // columns))
    told = f"Scatter plots of {search.metric} against " + (", ".join(drawn) or "nothing") + "."
    figure = new_figure(theme, 8.4, 0.7 + 2.5 * rows, told)
    grid = figure.subplots(rows, columns, squeeze=False, sharey=True).ravel()
    names, heights = short_keys(drawn), value_scale(search)
    for axes, key in zip(grid, drawn, strict=False):
        scale = parameter_scale(search, key)
        told = " (log)" if scale.kind == "log" else ""
        dress(axes, theme, f"{short_name(names[key], 28)}{told}")
        _points(axes, theme, search, scale, heights)
        turn = 30 if max(map(len, scale.ticks.values()), default=0) > 5 else 0
        name_ticks(axes, "x", scale.ticks, turn)
        axes.set(xlim=(-0.06, 1.06), ylim=(-0.06, 1.06))
    for number, axes in enumerate(grid):
        if number % columns == 0:
            name_ticks(axes, "y", heights.ticks)
        if number >= len(drawn):
            axes.set_visible(False)
    handles = grid[0].get_legend_handles_labels()
    if drawn and handles[0]:
        dress_legend(grid[0], theme, outside="lower center", ncols=3)
    return figure


def _points(axes: "Axes", theme: Theme, search: Search, scale: Scale, heights: Scale) -> None:
    places = scale.places
    if scale.kind == "words":  # a spread that is the same for a trial in every plot
        step = 1 / max(1, len(scale.ticks))
        aside = np.array([trial.number for trial in search.trials]) * 0.6180339887 % 1 - 0.5
        places = places + 0.4 * step * aside
    pruned = np.array([trial.state == "pruned" for trial in search.trials])
    size = 5.5 if len(places) <= 60 else 4
    for own, mark, inside, label in (
        (~pruned, "o", theme.lines[0], "complete"),
        (pruned, "^", "none", "pruned"),
    ):
        color = theme.lines[0] if mark == "o" else theme.lines[3]
        if np.isfinite(heights.places[own]).any():
            style: dict[str, Any] = {"mec": color, "mfc": inside, "ms": size, "alpha": 0.8}
            axes.plot(places[own], heights.places[own], mark, label=label, **style)
    for k, trial in enumerate(search.trials):
        if trial is search.best:
            style = {"mec": theme.lines[1], "mfc": "none", "ms": 10, "mew": 1.8}
            label = f"best: trial {trial.number}"
            axes.plot(places[k : k + 1], heights.places[k : k + 1], "o", label=label, **style)
