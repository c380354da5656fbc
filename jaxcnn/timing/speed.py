"""How fast a config's training is on the devices at hand, part by part.

What is timed is what `jaxcnn train` runs: a `Training`, in a temporary directory, with its compiled
steps and its batches. The parts take turns, round after round, and ratios are between neighbours of
one round, so that what else the machine does meanwhile matters little.
"""

import logging
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import repeat
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcnn.builders.devices import build_parallel, has_native_layers
from jaxcnn.config.keys import flatten, resolve, unflatten
from jaxcnn.core.state import TrainState
from jaxcnn.data.source import Dataset
from jaxcnn.files.rundir import metric_lines
from jaxcnn.runtime.checkpoint import on_host, parts_of
from jaxcnn.runtime.compile import compile_step
from jaxcnn.runtime.memory import memory_peak
from jaxcnn.timing.spread import Spread, in_rounds, spread
from jaxcnn.timing.timed_training import (
    Bare,
    Dispatch,
    open_timed,
    time_evaluation,
    time_steps,
    with_fewer,
)
from jaxcnn.training.build_run import build_run, compile_run
from jaxcnn.training.loop import load_data
from jaxcnn.training.resume import describe_data
from jaxcnn.training.run import Run

logger = logging.getLogger(__name__)

# Seconds of a first look at how long a step takes.
_LOOK = 0.3


class Started(NamedTuple):
    """A run ready for its first step. first: of `run.dispatches`. compiling: seconds."""

    run: Run
    state: TrainState
    first: Dispatch
    compiling: float


class Speed(NamedTuple):
    """What `measure_speed` found.

    measured: by name, see `jaxcnn.timing.speed_table.MEASURES`. work: what was timed, in numbers.
    """

    measured: dict[str, Spread]
    work: dict[str, Any]


def measure_speed(config: ConfigDict, rounds: int, seconds: float) -> Speed:
    """Times the parts of a resolved config's training.

    seconds: how long each part is timed in a round, about; two steps at least. Compiled programs
    are kept in a temporary directory, for this process alone: call it before JAX compiles anything.
    Raises UserError, and Interrupted after Ctrl-C.
    """
    with tempfile.TemporaryDirectory(prefix="jaxcnn-benchmark-") as folder:
        _compile_into(Path(folder, "xla"))
        look = _look(config, seconds)
        workdir = Path(folder, "run")
        given = (
            workdir,
            partial(_bare, config),
            look.steps,
            look.role,
            look.images,
            rounds,
            look.num_steps,
        )
        with _quiet(), open_timed(config, *given) as timed:
            parts: dict[str, Callable[[], Mapping[str, float]]] = {}
            if config.augment:
                parts["bare"] = timed.bare
            parts |= {
                "step": timed.step,
                "batches": timed.batches,
                "loop": timed.loop,
                "evaluation": timed.evaluation,
            }
            found = in_rounds(
                parts, rounds, lambda number: logger.info("round %d of %d", number, rounds)
            )
        waited = _waited(workdir, look.steps)
    measured = derived(
        found, config.batch_size, look.checkpoint_every, look.least_step_ms, look.holding_ms
    )
    measured |= {"data_wait_percent": waited, "compile_s": spread([look.compiling])}
    measured |= {name: spread([value]) for name, value in memory_peak().items()}
    return Speed(measured, look.work | {"rounds": rounds})


def start_run(config: ConfigDict, dataset: Dataset) -> Started:
    """Builds and compiles the run of a resolved config, without a directory."""
    facts = describe_data(config, dataset, None)
    run = build_run([config], dataset, facts, build_parallel([config]))
    state = run.parallel.place_states([run.make_states[0]()])
    jax.block_until_ready(state)
    clock = time.perf_counter()
    run = compile_run(run, state)
    compiling = time.perf_counter() - clock
    return Started(run, state, next(run.dispatches(0)), compiling)


def derived(
    found: Mapping[str, Sequence[float] | np.ndarray],
    batch_size: int,
    checkpoint_every: float,
    least_step_ms: float | None = None,
    holding_ms: float = 0.0,
) -> dict[str, Spread]:
    """What the times of each round say, by name.

    found: what the methods of `TimedTraining` give; of `bare` only where there is augmentation.
    checkpoint_every: steps, from one that is written to the next. least_step_ms: see
      `jaxcnn.training.run.Run`. holding_ms: of a step, for copies of states that may be written
      later.
    """
    own = {name: np.asarray(values) for name, values in found.items()}
    step, bare = own["step_ms"], own.get("bare_step_ms", own["step_ms"])
    whole = own["loop_step_ms"] + holding_ms + own["checkpoint_ms"] / checkpoint_every
    whole_cpu = own["loop_step_cpu_ms"] + holding_ms + own["checkpoint_cpu_ms"] / checkpoint_every
    images = 1e3 * batch_size
    own |= {
        "steps_per_second": 1e3 / step,
        "images_per_second": images / step,
        "end_to_end_ms": whole,
        "end_to_end_images_per_second": images / whole,
        "input_bound_percent": 100 * (1 - step / own["batches_step_ms"]),
        "loop_percent": 100 * (whole / own["batches_step_ms"] - 1),
        "end_to_end_percent": 100 * (whole / bare - 1),
        "evaluation_ratio": own["evaluation_images_per_second"] * step / images,
    }
    if "bare_step_ms" in found:
        own["augmentation_percent"] = 100 * (step / bare - 1)
    if jax.default_backend() == "cpu":
        bare_cpu = own.get("bare_step_cpu_ms", own["step_cpu_ms"])
        own["end_to_end_cpu_percent"] = 100 * (whole_cpu / bare_cpu - 1)
    if least_step_ms is not None:
        own["mfu_percent"] = 100 * least_step_ms / step
    return {name: spread(values) for name, values in own.items()}


class _Look(NamedTuple):
    """What there is to time. steps: at once, an even number; images: of `role`, to evaluate."""

    steps: int
    role: str
    images: int
    compiling: float
    num_steps: int
    checkpoint_every: float
    holding_ms: float
    least_step_ms: float | None
    work: dict[str, Any]


def _look(config: ConfigDict, seconds: float) -> _Look:
    """Compiles with an empty cache, and sees how much is done in so many seconds."""
    dataset = load_data(config)
    role = next(r for r in ("validation", "test", "train") if r in dataset.splits)
    run, state, first, compiling = start_run(config, dataset)
    steps, took = 1, 0.0
    state, *_ = time_steps(run, state, repeat(first), 1)
    while took * steps < 1e3 * _LOOK:
        steps *= 2
        state, took, _ = time_steps(run, state, repeat(first), steps)
    count = run.steps_per_dispatch
    block = count * max(1, round(1e3 * seconds / 2 / took / count))
    few = with_fewer(run, role, 2 * config.batch_size)
    speed = max(time_evaluation(few, state, role) for _ in range(2))
    images = max(1, round(seconds * speed / config.batch_size)) * config.batch_size
    images = min(images, len(dataset.splits[role]))
    checkpoint_every = run.plan.checkpoint_every.examples / config.batch_size
    holding_ms = _copying_ms(run, state) / checkpoint_every if config.checkpoint_gap_seconds else 0
    # Two are written in that time at most, the latest and the best.
    checkpoint_every = max(checkpoint_every, 1e3 * config.checkpoint_gap_seconds / took / 2)
    work = {
        "batch_size": config.batch_size,
        "image_shape": list(dataset.image_shape),
        "training_images": len(dataset.splits["train"]),
        "data_mode": dataset.mode,
        "steps_of_a_round": 2 * block,
        "steps_per_dispatch": run.steps_per_dispatch,
        "native_layers": has_native_layers(config),
        "checkpoint_every_steps": checkpoint_every,
        "evaluated": f"{images} images of {role}",
    }
    return _Look(
        steps=2 * block,
        role=role,
        images=images,
        compiling=compiling,
        num_steps=run.plan.num_steps,
        checkpoint_every=checkpoint_every,
        holding_ms=holding_ms,
        least_step_ms=run.least_step_ms,
        work=work,
    )


def _copying_ms(run: Run, state: TrainState) -> float:
    """Milliseconds of a copy of a state on the host, the median of some."""
    times = []
    for _ in range(5):
        clock = time.perf_counter()
        on_host(parts_of(run.parallel.saved(state, 0)))
        times.append(time.perf_counter() - clock)
    return 1e3 * median(times)


def _bare(config: ConfigDict, run: Run, state: TrainState) -> Bare:
    """The run's steps without augmentation."""
    if not config.augment:
        return Bare(run.train_step, run.train_steps)
    bare = build_run(
        [resolve(unflatten(flatten(config) | {"augment": ()}))],
        run.dataset,
        describe_data(config, run.dataset, None),
        run.parallel,
    )
    one = compile_step(bare.train_step, state, run.example_batch("train", own=True))
    if run.steps_per_dispatch == 1:
        return Bare(one, run.train_steps)
    return Bare(one, compile_step(bare.train_steps, state, run.example_batches()))


def _compile_into(folder: Path) -> None:
    """Compiled programs are kept there, as `jaxcnn.runtime.compile` would keep them elsewhere."""
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what the log says of a run that has no end; warnings are shown, and what is ours."""
    package = logging.getLogger("jaxcnn")
    levels = {package: package.level, logger: logger.level}
    logger.setLevel(package.level)
    package.setLevel(logging.WARNING)
    try:
        yield
    finally:
        for one, level in levels.items():
            one.setLevel(level)


def _waited(workdir: Path, steps: int) -> Spread:
    """The share of the loop's time in which it waited for data, as its log says, in percent."""
    lines = metric_lines(workdir)
    own = [line for line in lines if line["split"] == "train" and line["step"] > steps // 2]
    return spread([100 * line["data_wait_ms"] / line["step_ms"] for line in own])
