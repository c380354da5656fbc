"""The chart of a learning-rate range test."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from jaxcnn.report.style import LIGHT, Theme, dress, dress_legend, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from jaxcnn.search.loss_curve import LossRange

# How far above the start of the curve the axis reaches.
_ABOVE = 1.5


def learning_rate_chart(
    rates: Sequence[float], losses: Sequence[float], found: "LossRange", theme: Theme = LIGHT
) -> "Figure":
    """The loss of each step against its rate, the curve without noise, and what was found."""
    told = "Line chart of the loss over the learning rate. " + (
        "No rate is suggested."
        if found.suggested is None
        else f"Suggested is {found.suggested:.2g}: {found.reason}."
    )
    figure = new_figure(theme, 8.4, 4.2, told)
    axes = figure.subplots()
    dress(axes, theme, "Learning-rate range test", x="learning rate", y="training loss")
    loss = np.asarray(losses, np.float64)
    axes.plot(rates, loss, "o", color=theme.soft, ms=3, alpha=0.6, label="loss of a step")
    axes.plot(rates, found.smoothed, color=theme.lines[0], linewidth=2.2, label="smoothed")
    axes.set_xscale("log")
    marks = {"suggested": found.suggested, "steepest": found.steepest, "least": found.least}
    for (name, rate), style in zip(marks.items(), ("-", ":", "--"), strict=True):
        if rate is not None:
            color = theme.lines[1] if name == "suggested" else theme.soft
            label = f"{name}: {rate:.2g}"
            axes.axvline(rate, color=color, linestyle=style, linewidth=1.6, label=label)
    finite = loss[np.isfinite(loss)]
    if len(finite):
        start = float(np.median(finite[: max(5, len(finite) // 10)]))
        space = 0.05 * (_ABOVE * start - finite.min())
        axes.set_ylim(finite.min() - space, min(finite.max() + space, _ABOVE * start))
    dress_legend(axes, theme, outside="lower center", ncols=5)
    return figure
