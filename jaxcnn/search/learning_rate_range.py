"""Which learning rates a config can bear, by a range test: one short run whose rate grows from step
to step (Smith 2017, arXiv:1506.01186).

    from jaxcnn.search.learning_rate_range import find_learning_rate
    print(find_learning_rate(config, Path("runs/rates")))
"""

import json
import logging
import math
from pathlib import Path
from typing import Any

import optax
from ml_collections import ConfigDict

from jaxcnn.builders.auto import prepare
from jaxcnn.builders.devices import build_parallel
from jaxcnn.config.keys import flatten, resolve, unflatten
from jaxcnn.errors import UserError
from jaxcnn.files.folders import check_writable, write_files
from jaxcnn.pretrained.transfer import check_pretrained, load_pretrained
from jaxcnn.report.figures import to_png
from jaxcnn.runtime.compile import compile_step, enable_compile_cache
from jaxcnn.search.learning_rate_chart import learning_rate_chart
from jaxcnn.search.loss_curve import DIVERGED, Diverging, LossRange, read_losses
from jaxcnn.training.build_run import build_run
from jaxcnn.training.first_state import describe_parameters
from jaxcnn.training.loop import load_data
from jaxcnn.training.resume import describe_data
from jaxcnn.training.run import Run

logger = logging.getLogger(__name__)

_FEWEST = 20


def find_learning_rate(
    config: ConfigDict,
    output: Path,
    *,
    low: float = 1e-6,
    high: float = 10.0,
    steps: int = 100,
) -> str:
    """Writes learning_rate.json and learning_rate.png; returns what was found, for a terminal.

    low, high: the rates of the first and the last of the steps. The state is that of a run's start
    (with `config.pretrained`, too) and is not kept; nothing else is written. The test ends early
    where the loss has grown to 4 times its least. Raises UserError.
    """
    _check(low, high, steps)
    check_writable(output, "workdir")
    enable_compile_cache()
    config = prepare(config)
    check_pretrained(config)
    rates, losses = range_test(build(config, low, high, steps))
    found = read_losses(rates, losses)
    stopped = len(losses) < steps
    files = {
        "learning_rate.json": _json(config, rates, losses, found, stopped),
        "learning_rate.png": to_png(learning_rate_chart(rates, losses, found)),
    }
    write_files(output, files, "workdir")
    return told(config, rates, losses, found, stopped)


def _check(low: float, high: float, steps: int) -> None:
    if not (0 < low < high and math.isfinite(high)):
        raise UserError(
            f"--from={low:g} --to={high:g}: expected rates above 0, the second the larger"
        )
    if steps < _FEWEST:
        raise UserError(f"--steps={steps}: too few to see a curve; give at least {_FEWEST}")


def build(config: ConfigDict, low: float, high: float, steps: int) -> Run:
    """The run of a config with a rate that grows from `low` to `high`, and without what needs more
    time: no average of the model, no early stopping.
    """
    short = ("num_", "ema.", "early_stop.", "schedule.")
    values = {k: v for k, v in flatten(config).items() if not k.startswith(short)}
    config = resolve(unflatten(values | {"num_steps": steps}))
    dataset = load_data(config)
    parallel = build_parallel([config])
    factor = (high / low) ** (1 / (steps - 1))
    return build_run(
        [config],
        dataset,
        describe_data(config, dataset, None),
        parallel,
        schedule_of=lambda *_: optax.exponential_decay(low, 1, factor),
    )


def range_test(run: Run) -> tuple[list[float], list[float]]:
    """The rate and the loss of each step of a run, until it ends or the loss diverges."""
    make_state, dataset = run.make_states[0], run.dataset
    describe_parameters(make_state, run.rules)
    fresh = make_state().variables
    variables, origin = load_pretrained(
        run.config, len(dataset.class_names), dataset.image_shape, fresh
    )
    variables = run.from_data(variables) if origin is None else variables
    state = run.parallel.place_states([make_state(variables)])
    train_step: Any = None
    rates: list[float] = []
    losses: list[float] = []
    diverging = Diverging()
    for step, batch in enumerate(run.train_batches(0)):
        if train_step is None:
            train_step = compile_step(run.train_step, state, batch)
        state, metrics = train_step(state, batch)
        found = run.parallel.each(metrics)
        rates.append(float(run.schedules[0](step)))
        losses.append(float(found["loss"][0] / found["count"][0]))
        if diverging.add(losses[-1]):
            break
    return rates, losses


def told(
    config: ConfigDict, rates: list[float], losses: list[float], found: LossRange, stopped: bool
) -> str:
    """What was found, in lines."""
    name, now = config.optimizer.name, config.optimizer.learning_rate
    if found.suggested is None or found.least is None:
        lines = [f"no learning rate to suggest for {name}: {found.reason}"]
    else:
        lines = [
            f"learning rate {found.suggested:.2g} for {name}: {found.reason}",
            f"the loss fell fastest at {found.steepest:.2g}; config.optimizer.learning_rate is "
            f"{now:.2g}",
        ]
    if stopped:
        finite = math.isfinite(losses[-1])
        end = f"grew to {DIVERGED:g} times its least" if finite else "was no number any more"
        lines.append(f"the loss {end} at {rates[-1]:.2g}, after {len(rates)} steps")
    elif found.least == rates[-1]:
        lines.append(f"the loss was still falling at {rates[-1]:.2g}: give a higher --to")
    if found.suggested is not None:
        lines += [
            "one short run tells the order of magnitude; with it, try",
            f"  --config.optimizer.learning_rate={found.suggested:.2g}",
        ]
    return "\n".join(lines)


def _json(
    config: ConfigDict, rates: list[float], losses: list[float], found: LossRange, stopped: bool
) -> bytes:
    content = {
        "learning_rate": found.suggested,
        "reason": found.reason,
        "least": found.least,
        "steepest": found.steepest,
        "diverged": rates[-1] if stopped else None,
        "optimizer": config.optimizer.name,
        "batch_size": config.batch_size,
        "seed": config.seed,
        "curve": {
            "learning_rate": rates,
            "loss": [loss if math.isfinite(loss) else None for loss in losses],
            "smoothed": found.smoothed.tolist(),
        },
    }
    return json.dumps(content, indent=2).encode() + b"\n"
