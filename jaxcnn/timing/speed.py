"""How fast a config's training is on the devices at hand, part by part; and how long a user waits
for its first step: the command, started anew each time.

What is timed is what `jaxcnn train` runs: a `Training`, in a temporary directory, with its compiled
steps and its batches. The parts take turns, round after round, and ratios are between neighbours of
one round, so that what else the machine does meanwhile matters little.
"""

import dataclasses
import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcnn.builders.devices import has_native_layers
from jaxcnn.config.durations import UNITS
from jaxcnn.config.keys import flatten, resolve, unflatten
from jaxcnn.core.state import TrainState
from jaxcnn.data.source import Dataset
from jaxcnn.errors import UserError
from jaxcnn.files.rundir import metric_lines
from jaxcnn.runtime.checkpoint import on_host, parts_of
from jaxcnn.runtime.compile import compile_step
from jaxcnn.runtime.memory import memory_peak, seconds_a_call
from jaxcnn.runtime.progress import quiet
from jaxcnn.runtime.window import MetricWindow
from jaxcnn.timing.speed_table import Spread, in_rounds, spread
from jaxcnn.training.loop import Training, load_data
from jaxcnn.training.run import Run, build_run, compile_run

logger = logging.getLogger(__name__)

# Seconds of a first look at how long a step takes.
_LOOK = 0.3
# Blocks of the loop from one checkpoint to the next.
_BLOCKS = 4

# What `jaxcnn.training.run.Run.dispatches` gives: (number of updates, their batch, placed).
Dispatch = tuple[int, Any]

# The line of the first step, or of the first few where they are one program.
_FIRST_STEP = re.compile(r"step \d+ · .* for the first ")
# Lines of the log that say how long a part of the start took.
_PART = re.compile(r"[a-z].*\([\d.]+ s\)$")
_PATIENCE = 120.0


def measure_speed(
    config: ConfigDict, rounds: int, seconds: float
) -> tuple[dict[str, Spread], dict[str, Any]]:
    """Times the parts of a resolved config's training.

    seconds: how long each part is timed in a round, about; two steps at least. Compiled programs
    are kept in a temporary directory, for this process alone: call it before JAX compiles anything.
    Returns the measurements by name (see `jaxcnn.timing.speed_table.MEASURES`), and what was timed,
    in numbers. Raises UserError, and Interrupted after Ctrl-C.
    """
    with tempfile.TemporaryDirectory(prefix="jaxcnn-benchmark-") as folder:
        # As `jaxcnn.runtime.compile` would keep programs elsewhere.
        jax.config.update("jax_compilation_cache_dir", str(Path(folder, "xla")))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        work = _work(config, seconds)
        workdir = Path(folder, "run")
        with quiet(__name__), open_timed(config, workdir, work, rounds) as timed:
            parts = [timed.step, timed.batches, timed.loop, timed.evaluation]
            parts = [timed.bare, *parts] if config.augment else parts
            times = in_rounds(parts, rounds, lambda n: logger.info("round %d of %d", n, rounds))
        waits = [
            100 * line["data_wait_ms"] / line["step_ms"]  # as the loop's log says
            for line in metric_lines(workdir)
            if line["split"] == "train" and line["step"] > work.steps // 2
        ]
    measured = derived(
        times, config.batch_size, work.checkpoint_every, work.least_step_ms, work.holding_ms
    )
    measured |= {"data_wait_percent": spread(waits), "compile_s": spread([work.compiling])}
    measured |= {name: spread([value]) for name, value in memory_peak().items()}
    return measured, {**work.numbers, "rounds": rounds}


def start_run(config: ConfigDict, dataset: Dataset) -> tuple[Run, TrainState, Dispatch, float]:
    """Builds and compiles the run of a resolved config, without a directory.

    Returns it with its first state, the first of `run.dispatches`, and the seconds of compiling.
    """
    run = build_run([config], dataset)
    state = run.parallel.place_states([run.make_states[0]()])
    jax.block_until_ready(state)
    clock = time.perf_counter()
    run = compile_run(run, state)
    compiling = time.perf_counter() - clock
    return run, state, next(run.dispatches(0)), compiling


def derived(
    times: Mapping[str, Sequence[float] | np.ndarray],
    batch_size: int,
    checkpoint_every: float,
    least_step_ms: float | None = None,
    holding_ms: float = 0.0,
) -> dict[str, Spread]:
    """What the times of each round say, by name.

    times: what the methods of `TimedTraining` return; of `bare` only where there is augmentation.
    checkpoint_every: steps, from one that is written to the next. least_step_ms: see
      `jaxcnn.training.run.Run`. holding_ms: of a step, for copies of states that may be written
      later.
    """
    own = {name: np.asarray(values) for name, values in times.items()}
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
    if "bare_step_ms" in times:
        own["augmentation_percent"] = 100 * (step / bare - 1)
    if jax.default_backend() == "cpu":
        bare_cpu = own.get("bare_step_cpu_ms", own["step_cpu_ms"])
        own["end_to_end_cpu_percent"] = 100 * (whole_cpu / bare_cpu - 1)
    if least_step_ms is not None:
        own["mfu_percent"] = 100 * least_step_ms / step
    return {name: spread(values) for name, values in own.items()}


class Work(NamedTuple):
    """What there is to time.

    steps: at once, an even number, of two blocks. images: of `role`, to evaluate at most.
    num_steps: of the config's own training. The others go into `derived`, compiling: in seconds,
    and into `speed.json`, numbers.
    """

    steps: int
    role: str
    images: int
    num_steps: int = 1
    compiling: float = 0.0
    checkpoint_every: float = 1.0
    holding_ms: float = 0.0
    least_step_ms: float | None = None
    numbers: Mapping[str, Any] = {}


def _work(config: ConfigDict, seconds: float) -> Work:
    """Compiles with an empty cache, and sees how much is done in so many seconds."""
    dataset = load_data(config)
    role = next(r for r in ("validation", "test", "train") if r in dataset.splits)
    run, state, first, compiling = start_run(config, dataset)
    steps, step_ms = 1, 0.0
    state, *_ = time_steps(run, state, repeat(first), 1)
    while step_ms * steps < 1e3 * _LOOK:
        steps *= 2
        state, step_ms, _ = time_steps(run, state, repeat(first), steps)
    count = run.steps_per_dispatch
    block = count * max(1, round(1e3 * seconds / 2 / step_ms / count))
    few = with_fewer(run, role, 2 * config.batch_size)
    speed = max(time_evaluation(few, state, role) for _ in range(2))
    images = max(1, round(seconds * speed / config.batch_size)) * config.batch_size
    images = min(images, len(dataset.splits[role]))
    checkpoint_every = run.plan.checkpoint_every.examples / config.batch_size
    holding_ms = 0.0
    if config.checkpoint_gap_seconds:
        copying = seconds_a_call(lambda: on_host(parts_of(run.parallel.saved(state, 0))), 0, 5)
        holding_ms = 1e3 * copying / checkpoint_every
    # Two are written in that time at most, the latest and the best.
    checkpoint_every = max(checkpoint_every, 1e3 * config.checkpoint_gap_seconds / step_ms / 2)
    return Work(
        steps=2 * block,
        role=role,
        images=images,
        num_steps=run.plan.num_steps,
        compiling=compiling,
        checkpoint_every=checkpoint_every,
        holding_ms=holding_ms,
        least_step_ms=run.least_step_ms,
        numbers={
            "batch_size": config.batch_size,
            "image_shape": list(dataset.image_shape),
            "training_images": len(dataset.splits["train"]),
            "data_mode": dataset.mode,
            "steps_of_a_round": 2 * block,
            "steps_per_dispatch": run.steps_per_dispatch,
            "native_layers": has_native_layers(config),
            "checkpoint_every_steps": checkpoint_every,
            "evaluated": f"{images} images of {role}",
        },
    )


class TimedTraining:
    """The parts of a training, each timed by a method that returns {what was measured: number}.

    Of steps that is milliseconds each, of `work.steps` of them at once and the devices waited for;
    `cpu_ms` is how long all threads of this process worked, which other programs on the machine
    change less. Of the loop, a block goes from one stop of `Training` to the next; between blocks
    it stands still.
    """

    def __init__(self, training: Training, work: Work):
        run = training.run
        self._training, self._work = training, work
        self._evaluated = with_fewer(run, work.role, work.images)
        bare = _without_augmentation(run, training.state)
        # The loop evaluates nothing: that is timed by itself.
        alone = run.dataset._replace(splits={"train": run.dataset.splits["train"]})
        training.run = dataclasses.replace(run, dataset=alone)
        self._bare = dataclasses.replace(training.run, **bare)
        self._seen = 0
        self._first = next(training.run.dispatches(0))
        self._loop = iter(training)

    def close(self) -> None:
        """Ends the loop."""
        self._loop.close()  # type: ignore[attr-defined]

    def bare(self) -> dict[str, float]:
        """The step without augmentation, on one batch over and over."""
        return self._time("bare_step", self._bare, repeat(self._first))

    def step(self) -> dict[str, float]:
        """The step, on one batch over and over."""
        return self._time("step", self._training.run, repeat(self._first))

    def batches(self) -> dict[str, float]:
        """The step, on batches as they come; the wait for the first is not counted."""
        dispatches = self._training.run.dispatches(self._seen)
        self._seen += next(dispatches)[0] + self._work.steps
        return self._time("batches_step", self._training.run, dispatches)

    def loop(self) -> dict[str, float]:
        """Two blocks of the loop, and what two with a checkpoint between them take longer."""
        plain, plain_cpu = self.blocks(2)
        saving, saving_cpu = self.blocks(2)
        return {
            "loop_step_ms": plain / self._work.steps,
            "loop_step_cpu_ms": plain_cpu / self._work.steps,
            "checkpoint_ms": saving - plain,
            "checkpoint_cpu_ms": saving_cpu - plain_cpu,
        }

    def evaluation(self) -> dict[str, float]:
        """Evaluation, in images a second."""
        speed = time_evaluation(self._evaluated, self._training.state, self._work.role)
        return {"evaluation_images_per_second": speed}

    def _time(self, name: str, run: Run, dispatches: Iterable[Dispatch]) -> dict[str, float]:
        training = self._training
        training.state, wall, cpu = time_steps(run, training.state, dispatches, self._work.steps)
        return {f"{name}_ms": wall, f"{name}_cpu_ms": cpu}

    def blocks(self, count: int) -> tuple[float, float]:
        """Milliseconds of so many blocks of the loop, until a checkpoint in them is written, and of
        CPU time.
        """
        clock, cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            if next(self._loop, None) is None or self._training.failed:
                raise UserError(next(iter(self._training.failed.values()), "the run has ended"))
        self._training.members[0].checkpoints.wait()
        return 1e3 * (time.perf_counter() - clock), 1e3 * (time.process_time() - cpu)


def _without_augmentation(run: Run, state: TrainState) -> dict[str, Any]:
    """A run's steps without augmentation, compiled, by their names in it."""
    if not run.config.augment:
        return {}
    config = resolve(unflatten(flatten(run.config) | {"augment": ()}))
    bare = build_run([config], run.dataset, parallel=run.parallel)
    batch = run.example_batch("train", own=True)
    steps = {"train_step": compile_step(bare.train_step, state, batch)}
    if run.steps_per_dispatch > 1:
        steps["train_steps"] = compile_step(bare.train_steps, state, run.example_batches())
    return steps


@contextmanager
def open_timed(
    config: ConfigDict, workdir: Path, work: Work, rounds: int
) -> Iterator[TimedTraining]:
    """The training of a config in a directory, warm; one that is too short to time each part so
    many rounds is made longer.

    Its loop logs as the config says, and at the end of each block; it writes a checkpoint at the
    end of every fourth block. TensorBoard's files, which a process of their own writes, are left
    out.
    """
    block = work.steps // 2
    values = flatten(config)
    for name, count in (
        ("num", max(work.num_steps, block * (_BLOCKS * rounds + 2) + 1)),
        ("eval_every", block),
        ("checkpoint_every", _BLOCKS * block),
    ):
        values |= {f"{name}_{unit}": None for unit in UNITS} | {f"{name}_steps": count}
    values["checkpoint_gap_seconds"] = 0.0  # each is timed until it is on the disk
    with (
        Training([resolve(unflatten(values))], [workdir], tensorboard=False) as training,
        closing(TimedTraining(training, work)) as timed,
    ):
        for part in (timed.bare, timed.step, timed.batches, timed.evaluation):
            part()
        timed.blocks(1)
        yield timed


def time_steps(
    run: Run, state: TrainState, dispatches: Iterable[Dispatch], steps: int
) -> tuple[TrainState, float, float]:
    """Trains until so many steps or more are made: the state after them, milliseconds a step, the
    devices waited for, and milliseconds that all threads of this process worked for a step.
    """
    window = MetricWindow(run.parallel.each)
    jax.block_until_ready(state)
    made, clock, cpu = 0, time.perf_counter(), time.process_time()
    for count, batch in dispatches:
        advance = run.train_step if count == 1 else run.train_steps
        state, metrics = advance(state, batch)
        made += count
        window.add(made, metrics, count)  # as the loop, it lets no more than a few be under way
        if made >= steps:
            break
    jax.block_until_ready(state)
    seconds, worked = time.perf_counter() - clock, time.process_time() - cpu
    return state, 1e3 * seconds / made, 1e3 * worked / made


def time_evaluation(run: Run, state: TrainState, role: str) -> float:
    """Images a second of an evaluation, until its metrics are known."""
    clock = time.perf_counter()
    run.evaluate(state, role)
    return len(run.dataset.splits[role]) / (time.perf_counter() - clock)


def with_fewer(run: Run, role: str, images: int) -> Run:
    """The run with at most so many images of a role."""
    split = run.dataset.splits[role]
    fewer = dataclasses.replace(split, rows=split.rows[:images])
    dataset = run.dataset._replace(splits=run.dataset.splits | {role: fewer})
    return dataclasses.replace(run, dataset=dataset)


def measure_first_steps(
    arguments: Sequence[str], warm: int
) -> tuple[dict[str, Spread], dict[str, list[str]]]:
    """Starts `jaxcnn train` with these arguments, first with an empty compile cache, then
    `warm` times with what that start has left in it. Images are decoded before the first of them if
    they ever were on this machine. Raises UserError with what the command says of a mistake.

    Returns {"first_step_cold_s", "first_step_warm_s"} and what the log says of the first start and
    of the last; nothing where `warm` is 0.
    """
    if warm == 0:
        return {}, {}
    starts = []
    with tempfile.TemporaryDirectory(prefix="jaxcnn-benchmark-") as folder:
        cache = {
            "JAX_COMPILATION_CACHE_DIR": str(Path(folder, "xla")),
            # What `enable_compile_cache` would set for a cache of its own.
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        }
        for number in range(1 + warm):
            workdir = str(Path(folder, f"run-{number}"))
            starts.append(first_step([*arguments, "--workdir", workdir], cache))
            logger.info("start %d: %.2f s to the first step", number + 1, starts[-1][0])
    cold, *again = [seconds for seconds, _ in starts]
    measured = {"first_step_cold_s": spread([cold]), "first_step_warm_s": spread(again)}
    return measured, {"cold": starts[0][1], "warm": starts[-1][1]}


def first_step(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> tuple[float, list[str]]:
    """Starts `jaxcnn train` with these arguments, and stops it after its first step.

    Returns the seconds from the start of the process to that step's loss, and what the log says of
    where they went.
    """
    command = [sys.executable, "-m", "jaxcnn", "train", *arguments]
    clock = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | dict(environment or {}),
    )
    try:
        parts: list[str] = []
        message = ""
        for line in process.stderr or ():
            if _FIRST_STEP.match(line):
                return time.perf_counter() - clock, parts
            if _PART.match(message := line.strip()):
                parts.append(message)
    finally:  # what goes on in the background would slow down what is measured next
        process.terminate()
        try:
            process.communicate(timeout=_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
    if process.returncode == 2:
        raise UserError(message.removeprefix("error: "))
    raise RuntimeError(
        f"{command} ended with {process.returncode} before its first step: {message}"
    )
