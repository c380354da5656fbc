"""Charts of a search, as Optuna draws them with Matplotlib, in the colours of our pages."""

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcnn.analysis.tables import is_share
from jaxcnn.report.style import (
    LIGHT,
    Theme,
    color_map,
    dress,
    dress_legend,
    name_ticks,
    new_figure,
    percent_ticks,
    short_name,
)
from jaxcnn.search.trial import Search

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Parameters of a chart, of more the most important; bars; learning curves; plots in a row.
_PARAMETERS, _BARS, _CURVES, _COLUMNS = 12, 20, 100, 3
# So few numbers that are tried again and again are a choice, like words.
_FEW = 6
# A key as short as this is written whole.
_SHORT = 16
# Values further from the best than the median by this factor are not on the axis.
_REACH = 5.0
# The least contrast of a line with its paper, as a share of the ramp.
_FAINT = 0.35


def history_chart(search: Search, theme: Theme = LIGHT) -> "Figure":
    """The value of each complete trial by its number, and the best so far as a line."""
    figure = _draw("plot_optimization_history", search, target_name="complete")
    (axes,) = figure.axes
    dress(axes, theme, f"Validation {search.metric} of each trial", x="trial")
    points, line = axes.collections[0], axes.lines[0]
    points.set(color=theme.lines[0])
    line.set(color=theme.soft, alpha=1, label="best so far", drawstyle="steps-post", zorder=0)
    description = f"Scatter plot of the {len(search.trials):,} trials in the order of their starts"
    if (best := search.best) is not None and best.value is not None:
        label = f"best: trial {best.number}"
        style: dict[str, Any] = {"mec": theme.lines[1], "mfc": "none", "ms": 11, "mew": 1.8}
        axes.plot(best.number, best.value, "o", label=label, **style)
        description += f"; the best is trial {best.number}"
    _limit_values(axes, search)
    return _finish(figure, theme, 8.4, 3.8, f"{description}.")


def importance_chart(search: Search, theme: Theme = LIGHT) -> "Figure":
    """The share of the values' variance that each parameter explains, the most important first."""
    importance = search.importance or {}
    order = sorted(importance, key=lambda key: -importance[key])[:_BARS]
    description = ", ".join(f"{key} {100 * importance[key]:.0f} %" for key in order)
    height = 1.1 + 0.36 * max(1, len(order))
    figure = new_figure(theme, 8.4, height, f"Bar chart: {description}.")
    axes = figure.subplots()
    dress(axes, theme, f"Share of the differences in {search.metric} that a parameter explains")
    bars = axes.barh(order, [importance[key] for key in order], 0.62, color=theme.lines[0])
    shares = [f" {100 * importance[key]:.0f} %" for key in order]
    axes.bar_label(bars, shares, color=theme.ink, fontsize=9)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    name_ticks(axes, "y", {float(k): short_name(key, 36) for k, key in enumerate(order)})
    percent_ticks(axes, "x")
    return figure


def parallel_coordinates_chart(search: Search, theme: Theme = LIGHT) -> "Figure":
    """A line a complete trial, through its value and its parameters (Inselberg 1985, "The plane
    with parallel coordinates").
    """
    figure = _draw("plot_parallel_coordinate", search, target_name=search.metric)
    first, bar = figure.axes[:2]
    dress(first, theme, "A line a trial, through its value and its parameters")
    first.grid(visible=False)
    lines = first.collections[0]
    lines.set(cmap=_ramp(theme, search.lower_is_better), linewidth=1.2, alpha=0.8)
    bar.remove()
    if is_share(search.metric):
        percent_ticks(first, "y")
    box = {"facecolor": theme.paper, "edgecolor": "none", "alpha": 0.8, "pad": 0.8}
    for axes in figure.axes:
        axes.grid(visible=False)
        axes.spines[:].set_color(theme.soft)
        axes.spines[["left", "top", "bottom"]].set_visible(axes is first)
        axes.tick_params(which="both", colors=theme.soft, labelsize=8, length=2)
        for words in axes.get_yticklabels():
            words.set_bbox(box)
    first.spines[["top", "bottom"]].set_visible(False)
    names = [words.get_text() for words in first.get_xticklabels()]
    name_ticks(first, "x", {float(k): short_name(name, 20) for k, name in enumerate(names)}, 20)
    keys = ", ".join(search.keys[:_PARAMETERS])
    description = f"Parallel coordinates of {len(search.trials):,} trials: {keys}."
    return _finish(figure, theme, max(8.4, 1.2 * len(names)), 4.6, description)


def slices_chart(search: Search, theme: Theme = LIGHT) -> "Figure":
    """The value of each complete trial against each of its parameters."""
    figure = _draw("plot_slice", search, target_name=search.metric)
    *plots, bar = figure.axes
    bar.remove()
    columns = min(_COLUMNS, len(plots))
    rows = -(-len(plots) // columns)
    places = figure.add_gridspec(rows, columns)
    for k, axes in enumerate(plots):
        axes.set_subplotspec(places[k // columns, k % columns])
        dress(axes, theme, f"{axes.get_xlabel()}{' (log)' * (axes.get_xscale() == 'log')}")
        axes.tick_params(labelleft=k % columns == 0, labelbottom=True)
        axes.collections[0].set(cmap=_ramp(theme), edgecolor=theme.paper)
        words = [one.get_text() for one in axes.get_xticklabels()]
        if words[0].startswith("'"):  # Optuna writes a word as Python does
            turn = 20 if max(map(len, words)) > 8 else 0
            name_ticks(axes, "x", {float(k): word[1:-1] for k, word in enumerate(words)}, turn)
            axes.set_xlim(-0.5, len(words) - 0.5)
    _limit_values(plots[0], search)
    keys = ", ".join(search.keys[:_PARAMETERS])
    description = f"Scatter plots of {search.metric} against {keys}; later trials have more colour."
    return _finish(figure, theme, 8.4, 0.7 + 2.5 * rows, description)


def learning_curves_chart(search: Search, theme: Theme = LIGHT) -> "Figure":
    """The validation of each trial over its steps; of more than 100 trials, those that began last
    and the best.
    """
    kept = [one for one in search.trials if one.history][-_CURVES:]
    if (best := search.best) is not None and best.history:
        kept = [*(one for one in kept if one is not best), best]
    figure = _draw("plot_intermediate_values", search._replace(trials=kept))
    (axes,) = figure.axes
    title = f"Validation {search.metric} over the steps of each trial"
    dress(axes, theme, title, x="step")
    for trial, line in zip(kept, axes.lines, strict=True):
        line.set(color=theme.lines[0], alpha=0.5, linewidth=1.2, label="")
        line.set_marker("." if len(trial.history) == 1 else "")
        if trial.state == "pruned":
            line.set(color=theme.lines[3], linestyle="--", alpha=0.8)
        if trial is best:
            line.set(color=theme.lines[1], linewidth=2.6, alpha=1, zorder=3)
            line.set_label(f"best: trial {trial.number}")
    if any(trial.state == "pruned" for trial in kept):
        axes.plot([], [], "--", color=theme.lines[3], label="pruned")
    _limit_values(axes, search, [value for one in kept for _, value in one.history])
    return _finish(figure, theme, 8.4, 4.0, f"Line chart: {title}.")


def short_keys(keys: Sequence[str]) -> dict[str, str]:
    """As much of the ends of long dotted names as tells them apart."""
    shown = {}
    for key in keys:
        parts = key.split(".")
        ends = [".".join(parts[start:]) for start in range(len(parts) - 1, 0, -1)]
        others = [f".{other}" for other in keys if other != key]
        unique = (end for end in ends if not any(one.endswith(f".{end}") for one in others))
        shown[key] = key if len(key) <= _SHORT else next(unique, key)
    return shown


def short_number(value: float) -> str:
    """Three digits; whole numbers below a million as they are."""
    whole = float(value).is_integer() and abs(value) < 1e6
    return str(int(value)) if whole else f"{value:.3g}"


def _draw(name: str, search: Search, **options: Any) -> "Figure":
    """The figure of a function of `optuna.visualization.matplotlib`.

    The functions draw with pyplot and change its style: both are left as they were.
    """
    import matplotlib as mpl
    from matplotlib import pyplot as plt
    from optuna import visualization

    style: Any = {"text.parse_math": False, "figure.constrained_layout.use": True}
    with mpl.rc_context(style | {"figure.dpi": 150}), plt.ioff(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the functions are "experimental" since 2020
        drawn = getattr(visualization.matplotlib, name)(_study(search), **options)
        figure: Figure = np.ravel(drawn)[0].figure
        for axes in figure.axes:
            axes.set_title("")
        if figure.get_suptitle():
            figure.suptitle("")
        plt.close(figure)
    return figure


def _study(search: Search) -> Any:
    """A study of Optuna's in memory, with the most important parameters under short names."""
    import optuna

    keys = search.keys[:_PARAMETERS]
    names = dict(zip(keys, _short_names(short_keys(keys).values(), 28), strict=True))
    ranges = {}
    for key in keys:
        tried = [trial.params[key] for trial in search.trials if key in trial.params]
        ranges[key] = _distribution(tried, key in search.log)
    study = optuna.create_study(direction="minimize" if search.lower_is_better else "maximize")
    for trial in search.trials:
        own = [key for key in keys if key in trial.params]
        state = "COMPLETE" if trial.is_ranked else "PRUNED" if trial.history else "FAIL"
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState[state],
                value=trial.value if trial.is_ranked else None,
                params={names[key]: ranges[key][1](trial.params[key]) for key in own},
                distributions={names[key]: ranges[key][0] for key in own},
                intermediate_values=dict(trial.history),
            )
        )
    return study


def _distribution(values: Sequence[Any], log: bool) -> tuple[Any, Callable[[Any], Any]]:
    """Optuna's distribution of the values that were tried, and what makes one of it from a value.

    Few numbers, each tried twice on average or more often, are a choice, as words are.
    """
    from optuna import distributions

    number = all(
        isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        for value in values
    )
    choices = {str(value): value for value in values}
    if number and len(choices) > min(_FEW, len(values) // 2):
        low, high = float(min(values)), float(max(values))
        return distributions.FloatDistribution(low, high, log=log and low > 0), float
    texts = sorted(choices, key=lambda text: (choices[text] if number else 0, text))
    names = dict(zip(texts, _short_names(texts, 16), strict=True))
    return distributions.CategoricalDistribution(list(names.values())), lambda v: names[str(v)]


def _short_names(names: Iterable[str], length: int) -> list[str]:
    """Printable names of at most `length` characters; one that is there already gets a number."""
    short: list[str] = []
    for name in names:
        shown = short_name(name, length)
        short.append(f"{len(short)}: {shown}" if shown in short else shown)
    return short


def _finish(
    figure: "Figure", theme: Theme, width: float, height: float, description: str
) -> "Figure":
    """Gives a figure its size in inches, the theme's paper, a legend below, and its description."""
    figure.set_layout_engine("constrained")
    figure.set_size_inches(width, height)
    figure.set_facecolor(theme.paper)
    figure.set_label(description)
    first: Axes = figure.axes[0]
    if (legend := first.get_legend()) is not None:
        legend.remove()
    if len(figure.axes) == 1:
        dress_legend(first, theme, outside="lower center", ncols=4)
    return figure


def _limit_values(axes: "Axes", search: Search, shown: Iterable[float] | None = None) -> None:
    """Cuts off values much worse than most, so that the others can be told apart.

    shown: the values in the axes; None: those of the trials.
    """
    if shown is None:
        shown = [trial.value for trial in search.trials if trial.value is not None]
    if values := [value for value in shown if math.isfinite(value)]:
        best = min(values) if search.lower_is_better else max(values)
        reach = _REACH * abs(best - float(np.median(values))) or math.inf
        low, high = max(min(values), best - reach), min(max(values), best + reach)
        space = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
        axes.set_ylim(low - space, high + space)
    if is_share(search.metric):
        percent_ticks(axes, "y")


def _ramp(theme: Theme, reverse: bool = False) -> Any:
    """The theme's colours from faint to strong, or the other way around."""
    from matplotlib.colors import ListedColormap

    colors = ListedColormap(color_map(theme)(np.linspace(_FAINT, 1, 256)))
    return colors.reversed() if reverse else colors
