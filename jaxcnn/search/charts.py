"""Charts of a search: its trials one after another, what mattered, and how each trial learned."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcnn.report.style import (
    LIGHT,
    MARKERS,
    Theme,
    color_map,
    dress,
    dress_legend,
    name_ticks,
    new_figure,
    percent_ticks,
    short_name,
)
from jaxcnn.report.tables import is_share
from jaxcnn.search.scale import (
    share_text,
    short_number,
    trial_values,
    value_window,
)
from jaxcnn.search.trial import Search

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Curves and bars that are drawn.
_CURVES, _BARS = 100, 20
# The least contrast of a line with its paper, as a share of the ramp.
_FAINT = 0.35


def history_chart(search: Search, theme: Theme = LIGHT) -> "Figure":
    """The value of each trial by its number, and the best so far as a line.

    What is much worse than most trials, or has no value, is marked at the edge.
    """
    from matplotlib.ticker import MaxNLocator

    figure = new_figure(theme, 8.4, 3.8, _history_told(search))
    axes = figure.subplots()
    low, high = value_window(search)
    title = f"Validation {search.metric} of each trial"
    dress(axes, theme, title, x="trial")
    values = trial_values(search)
    _value_limits(axes, search)
    edge = axes.get_ylim()[search.lower_is_better]
    _line_of_the_best(axes, theme, search)
    number = np.array([trial.number for trial in search.trials])
    state = np.array([trial.state for trial in search.trials])
    looks = {
        "complete": (theme.lines[0], theme.lines[0], "o"),
        "pruned": (theme.lines[3], "none", "^"),
        "running": (theme.soft, "none", "s"),
    }
    for name, (color, face, mark) in looks.items():
        own = (state == name) & (np.isfinite(values) | (name == "pruned"))
        inside = (low <= values[own]) & (values[own] <= high)
        shown = np.where(inside, values[own], edge)
        style: dict[str, Any] = {
            "mec": color,
            "mfc": face,
            "ms": 5,
            "label": name,
            "clip_on": False,
        }
        if own.any():
            axes.plot(number[own], shown, mark, **style)
    if (failed := state == "failed").any():
        style = {"mec": theme.lines[1], "ms": 6, "label": "failed", "clip_on": False}
        axes.plot(number[failed], np.full(failed.sum(), edge), "x", **style)
    if (best := search.best) is not None:
        style = {"mec": theme.lines[1], "mfc": "none", "ms": 11, "mew": 1.8, "clip_on": False}
        place, label = (best.number, best.value or 0.0), f"best: trial {best.number}"
        axes.plot(*place, "o", label=label, **style)
    axes.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axes.margins(x=0.03)
    if ((values < low) | (values > high)).any():
        axes.set_xlabel("trial (marks at the edge: worse than the axis shows)")
    dress_legend(axes, theme, outside="lower center", ncols=5)
    return figure


def _line_of_the_best(axes: "Axes", theme: Theme, search: Search) -> None:
    """Over complete trials: others are not compared by their last value."""
    sign = -1 if search.lower_is_better else 1
    values = trial_values(search)
    ended = [
        (trial.number, sign * value)
        for trial, value in zip(search.trials, values, strict=True)
        if trial.state == "complete" and np.isfinite(value)
    ]
    if not ended:
        return
    number, value = np.array(sorted(ended)).T
    least = sign * value_window(search)[search.lower_is_better]
    best = sign * np.maximum(np.maximum.accumulate(value), least)
    last = max(trial.number for trial in search.trials)
    axes.step(
        [*number, last],
        [*best, best[-1]],
        where="post",
        color=theme.soft,
        linewidth=1.6,
        label="best so far",
    )


def _value_limits(axes: "Axes", search: Search) -> None:
    """Of the y axis: the values to draw, and a little more."""
    low, high = value_window(search)
    space = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    axes.set_ylim(low - space, high + space)
    if is_share(search.metric):
        percent_ticks(axes, "y")


def _history_told(search: Search) -> str:
    best = search.best
    told = f"Scatter plot of the {len(search.trials):,} trials in the order of their starts"
    if best is None or best.value is None:
        return f"{told}; none is complete."
    return f"{told}; the best is trial {best.number} with {shown_value(search, best.value)}."


def shown_value(search: Search, value: float) -> str:
    """A value of the metric as it is read."""
    return share_text(value) if is_share(search.metric) else short_number(value)


def importance_chart(search: Search, theme: Theme = LIGHT) -> "Figure":
    """How much of what trials differ in each parameter explains, the most important first; of more
    than 20 parameters those that matter most.
    """
    importance = search.importance or {}
    order = sorted(importance, key=lambda key: -importance[key])[:_BARS]
    told = ", ".join(f"{key} {100 * importance[key]:.0f} %" for key in order)
    figure = new_figure(theme, 8.4, 1.1 + 0.36 * max(1, len(order)), f"Bar chart: {told}.")
    axes = figure.subplots()
    dress(axes, theme, f"Share of the differences in {search.metric} that a parameter explains")
    axes.grid(visible=False, axis="y")
    shares = [importance[key] for key in order]
    axes.barh(range(len(order)), shares, height=0.62, color=theme.lines[0])
    for place, share in enumerate(shares):
        written = f" {100 * share:.0f} %"
        axes.text(share, place, written, color=theme.ink, fontsize=9, va="center")
    largest = max(shares, default=1.0)
    axes.set(xlim=(0, 1.12 * largest or 1), ylim=(max(len(order), 1) - 0.5, -0.5))
    name_ticks(axes, "y", {float(k): short_name(key, 36) for k, key in enumerate(order)})
    percent_ticks(axes, "x")
    return figure


def learning_curves_chart(search: Search, theme: Theme = LIGHT) -> "Figure":
    """The validation of each trial over its steps; of more than 100 trials, good and bad ones
    evenly.

    Pruned trials are dashed and end in a mark.
    """
    ranked = [k for k in by_value(search) if search.trials[k].history]
    order = thinned(ranked, _CURVES)
    title = f"Validation {search.metric} over the steps of each trial"
    if len(order) < len(ranked):
        title += f" ({len(order)} of {len(ranked):,})"
    figure = new_figure(theme, 8.4, 4.0, f"Line chart: {title}.")
    axes = figure.subplots()
    dress(axes, theme, title, x="step")
    colors, best = ramp(search, theme), search.best
    for k in order:
        trial = search.trials[k]
        step, value = np.array(trial.history, np.float64).T
        pruned, winner = trial.state == "pruned", trial is best
        line: dict[str, Any] = {
            "color": theme.lines[1] if winner else theme.lines[3] if pruned else colors[k],
            "linewidth": 2.6 if winner else 1.2,
            "alpha": 1 if winner or len(order) <= 20 else 0.75,
            "zorder": 4 if winner else 3 if pruned else 2,
        }
        axes.plot(step, value, "--" if pruned else "-", **line)
        if pruned or len(step) == 1:
            mark = MARKERS[1] if pruned else MARKERS[0]
            axes.plot(step[-1:], value[-1:], mark, ms=4, mfc="none" if pruned else None, **line)
    _explain_curves(axes, theme, search)
    finite = [v for k in order for _, v in search.trials[k].history if np.isfinite(v)]
    _limit_curves(axes, search, np.array(finite))
    dress_legend(axes, theme, outside="lower center", ncols=3)
    return figure


def by_value(search: Search) -> list[int]:
    """The trials' places in the sequence, those without a value first, the best last."""
    values = (-1 if search.lower_is_better else 1) * trial_values(search)
    order = np.argsort(np.nan_to_num(values, nan=-np.inf), kind="stable").tolist()
    best = search.best
    # Pruned trials are ranked too; the best is one that is complete.
    return sorted(order, key=lambda k: search.trials[k] is best)


def thinned(ranked: Sequence[int], most: int) -> list[int]:
    """At most so many, evenly, with the last."""
    if len(ranked) <= most:
        return list(ranked)
    return [ranked[k] for k in np.linspace(0, len(ranked) - 1, most).round().astype(int)]


def _explain_curves(axes: "Axes", theme: Theme, search: Search) -> None:
    """The legend, on lines without points."""
    if search.best is not None:
        label = f"best: trial {search.best.number}"
        axes.plot([], [], color=theme.lines[1], linewidth=2.6, label=label)
    middle = color_map(theme)(0.8)
    axes.plot([], [], color=middle, linewidth=1.2, label="others: the more colour, the better")
    if any(trial.state == "pruned" and trial.history for trial in search.trials):
        style: dict[str, Any] = {"linewidth": 1.2, "marker": MARKERS[1], "ms": 4, "mfc": "none"}
        axes.plot([], [], "--", color=theme.lines[3], label="pruned", **style)


def _limit_curves(axes: "Axes", search: Search, values: np.ndarray) -> None:
    """Losses that explode are cut off."""
    if is_share(search.metric):
        percent_ticks(axes, "y")
        return
    if len(values) and values.min() > 0:
        from matplotlib.ticker import LogLocator

        axes.set_yscale("log")
        usual = float(np.quantile(values, 0.9))
        if values.max() > 3 * usual:
            axes.set_ylim(0.9 * values.min(), 1.5 * usual)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(lambda value, _: short_number(value))
        axes.yaxis.set_minor_formatter(lambda value, _: "")


def ramp(search: Search, theme: Theme) -> np.ndarray:
    """float64[N, 4]: a colour for each trial; the better its value, the more contrast it has with
    the paper. Trials without a value are the faintest.
    """
    low, high = value_window(search)
    share = (np.clip(trial_values(search), low, high) - low) / ((high - low) or 1)
    # Squared: most trials of a search are good, and the best of them shall be told apart.
    share = np.nan_to_num(1 - share if search.lower_is_better else share) ** 2
    return np.asarray(color_map(theme)(_FAINT + (1 - _FAINT) * share))
