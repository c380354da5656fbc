"""Which learning rates a config can bear, by a range test: one short run whose rate grows from step
to step (Smith 2017, arXiv:1506.01186).

    from jaxcnn.search.learning_rate_range import find_learning_rate
    print(find_learning_rate(config, Path("runs/rates")))
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import optax
from ml_collections import ConfigDict

from jaxcnn.builders.auto import prepare
from jaxcnn.config.keys import flatten, resolve, unflatten
from jaxcnn.errors import UserError
from jaxcnn.files.folders import check_writable, write_files
from jaxcnn.pretrained.transfer import check_pretrained, load_pretrained
from jaxcnn.report.style import LIGHT, dress, dress_legend, new_figure, to_png
from jaxcnn.runtime.compile import compile_step, enable_compile_cache
from jaxcnn.training.first_state import describe_parameters
from jaxcnn.training.loop import load_data
from jaxcnn.training.run import Run, build_run

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FEWEST = 20
# The share of the past in a running average of losses: of one that only looks back, and of one that
# looks ahead as well.
_KEEP, _KEEP_OF_TWO = 0.9, 0.75
# A loss this many times its least has diverged.
DIVERGED = 4.0
# A rate so many times below that of the least loss leaves room before it rises.
_BELOW = 10.0
# Of the loss at the start: what a fall must exceed to be one.
_FALL = 0.02
# How far above the start of the curve the axis of the chart reaches.
_ABOVE = 1.5


class RangeTest(NamedTuple):
    """The loss of each of N rates, and what that says.

    rates, losses, smoothed: float64[N]; smoothed: the losses without their noise. least, steepest:
    the rates where that is least and where it falls fastest (per factor of the rate); None where it
    never falls. suggested: a rate to train with; None where there is none. reason: a sentence.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    least: float | None
    steepest: float | None
    suggested: float | None
    reason: str


def has_diverged(losses: Sequence[float]) -> bool:
    """Whether the average of N losses until the last is above 4 times its least, or no number."""
    averages = _average(np.asarray(losses, np.float64), _KEEP)
    return not np.isfinite(averages[-1]) or averages[-1] > DIVERGED * averages.min()


def read_losses(rates: Sequence[float], losses: Sequence[float]) -> RangeTest:
    """rates: N numbers, each larger than the one before; losses: the loss of each."""
    rate, loss = np.asarray(rates, np.float64), np.asarray(losses, np.float64)
    smoothed = smooth(loss)
    bottom = int(np.argmin(smoothed))
    if smoothed[0] - smoothed[bottom] < _FALL * abs(smoothed[0]) or bottom == 0:
        reason = "the loss never fell: try another optimiser, or look at the data"
        return RangeTest(rate, loss, smoothed, None, None, None, reason)
    slope = np.gradient(smoothed, np.log(rate))
    steepest = float(rate[int(np.argmin(slope[: bottom + 1]))])
    least = float(rate[bottom])
    reason = f"a tenth of {least:.2g}, the rate at which the loss was least"
    return RangeTest(rate, loss, smoothed, least, steepest, least / _BELOW, reason)


def smooth(losses: np.ndarray) -> np.ndarray:
    """Averages that look back and ahead, so that nothing is shifted: float64[N] of N losses.

    What has diverged counts as just that, however large it is.
    """
    finite = np.nan_to_num(losses, nan=np.inf, posinf=np.inf)
    limit = DIVERGED * max(float(np.min(finite)), 1e-12)
    capped = np.minimum(finite, limit)
    return (_average(capped, _KEEP_OF_TWO) + _average(capped[::-1], _KEEP_OF_TWO)[::-1]) / 2


def _average(values: np.ndarray, keep: float) -> np.ndarray:
    """The exponential average until each of N values, with the correction for its start of Kingma &
    Ba (2015).
    """
    from scipy.signal import lfilter

    total, weight = lfilter([1 - keep], [1, -keep], np.stack([values, np.ones_like(values)]))
    return total / weight


def find_learning_rate(
    config: ConfigDict, output: Path, *, low: float = 1e-6, high: float = 10.0, steps: int = 100
) -> str:
    """Writes learning_rate.json and learning_rate.png; returns the result in lines, for a terminal.

    low, high: the rates of the first and the last of the steps. The state is that of a run's start
    (with `config.pretrained`, too) and is not kept; nothing else is written. The test ends early
    where the loss has grown to 4 times its least. Raises UserError.
    """
    if not (0 < low < high and math.isfinite(high)):
        raise UserError(
            f"--from={low:g} --to={high:g}: expected rates above 0, the second the larger"
        )
    if steps < _FEWEST:
        raise UserError(f"--steps={steps}: too few to see a curve; give at least {_FEWEST}")
    check_writable(output, "workdir")
    enable_compile_cache()
    config = prepare(config)
    check_pretrained(config)
    result = read_losses(*range_test(build(config, low, high, steps)))
    diverged = float(result.rates[-1]) if len(result.losses) < steps else None
    content = {
        "learning_rate": result.suggested,
        "reason": result.reason,
        "least": result.least,
        "steepest": result.steepest,
        "diverged": diverged,
        "optimizer": config.optimizer.name,
        "batch_size": config.batch_size,
        "seed": config.seed,
        "curve": {
            "learning_rate": result.rates.tolist(),
            "loss": [loss if math.isfinite(loss) else None for loss in result.losses.tolist()],
            "smoothed": result.smoothed.tolist(),
        },
    }
    files = {
        "learning_rate.json": json.dumps(content, indent=2).encode() + b"\n",
        "learning_rate.png": to_png(_chart(result)),
    }
    write_files(output, files, "workdir")
    return _lines(config, result, diverged)


def build(config: ConfigDict, low: float, high: float, steps: int) -> Run:
    """The run of a config with a rate that grows from `low` to `high`, and without what needs more
    time: no average of the model, no early stopping.
    """
    short = ("num_", "ema.", "early_stop.", "schedule.")
    values = {k: v for k, v in flatten(config).items() if not k.startswith(short)}
    config = resolve(unflatten(values | {"num_steps": steps}))
    rates = optax.exponential_decay(low, 1, (high / low) ** (1 / (steps - 1)))
    return build_run([config], load_data(config), schedule_of=lambda *_: rates)


def range_test(run: Run) -> tuple[list[float], list[float]]:
    """The rate and the loss of each step of a run, until it ends or the loss diverges."""
    make_state, dataset = run.make_states[0], run.dataset
    describe_parameters(make_state, run.rules)
    fresh = make_state().variables
    variables, origin = load_pretrained(
        run.config, len(dataset.class_names), dataset.image_shape, fresh, dataset.class_names
    )
    variables = run.from_data(variables) if origin is None else variables
    state = run.parallel.place_states([make_state(variables)])
    train_step: Any = None
    rates: list[float] = []
    losses: list[float] = []
    for step, batch in enumerate(run.train_batches(0)):
        if train_step is None:
            train_step = compile_step(run.train_step, state, batch)
        state, metrics = train_step(state, batch)
        sums = run.parallel.each(metrics)
        rates.append(float(run.schedules[0](step)))
        losses.append(float(sums["loss"][0] / sums["count"][0]))
        if has_diverged(losses):
            break
    return rates, losses


def _lines(config: ConfigDict, result: RangeTest, diverged: float | None) -> str:
    """The result for a terminal. diverged: the rate at which the test ended early."""
    name, now = config.optimizer.name, config.optimizer.learning_rate
    if result.suggested is None:
        lines = [f"no learning rate to suggest for {name}: {result.reason}"]
    else:
        lines = [
            f"learning rate {result.suggested:.2g} for {name}: {result.reason}",
            f"the loss fell fastest at {result.steepest:.2g}; config.optimizer.learning_rate is "
            f"{now:.2g}",
        ]
    if diverged is not None:
        finite = math.isfinite(result.losses[-1])
        end = f"grew to {DIVERGED:g} times its least" if finite else "was no number any more"
        lines.append(f"the loss {end} at {diverged:.2g}, after {len(result.rates)} steps")
    elif result.least == result.rates[-1]:
        lines.append(f"the loss was still falling at {result.least:.2g}: give a higher --to")
    if result.suggested is not None:
        lines += [
            "one short run tells the order of magnitude; with it, try",
            f"  --config.optimizer.learning_rate={result.suggested:.2g}",
        ]
    return "\n".join(lines)


def _chart(result: RangeTest) -> "Figure":
    """The loss of each step against its rate, the curve without noise, and the rates in it."""
    description = "Line chart of the loss over the learning rate. " + (
        "No rate is suggested."
        if result.suggested is None
        else f"Suggested is {result.suggested:.2g}: {result.reason}."
    )
    figure = new_figure(LIGHT, 8.4, 4.2, description)
    axes = figure.subplots()
    dress(axes, LIGHT, "Learning-rate range test", x="learning rate", y="training loss")
    loss = result.losses
    axes.plot(result.rates, loss, "o", color=LIGHT.soft, ms=3, alpha=0.6, label="loss of a step")
    color = LIGHT.lines[0]
    axes.plot(result.rates, result.smoothed, color=color, linewidth=2.2, label="smoothed")
    axes.set_xscale("log")
    for name, style in (("suggested", "-"), ("steepest", ":"), ("least", "--")):
        if (rate := getattr(result, name)) is not None:
            color = LIGHT.lines[1] if name == "suggested" else LIGHT.soft
            label = f"{name}: {rate:.2g}"
            axes.axvline(rate, color=color, linestyle=style, linewidth=1.6, label=label)
    finite = loss[np.isfinite(loss)]
    if len(finite):
        start = float(np.median(finite[: max(5, len(finite) // 10)]))
        space = 0.05 * (_ABOVE * start - finite.min())
        axes.set_ylim(finite.min() - space, min(finite.max() + space, _ABOVE * start))
    dress_legend(axes, LIGHT, outside="lower center", ncols=5)
    return figure
