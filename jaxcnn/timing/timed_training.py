"""A training on its way, of which one part at a time is timed."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import repeat
from pathlib import Path
from typing import Any, NamedTuple

import jax
from ml_collections import ConfigDict

from jaxcnn.config.durations import UNITS
from jaxcnn.config.keys import flatten, resolve, unflatten
from jaxcnn.core.state import TrainState
from jaxcnn.errors import UserError
from jaxcnn.runtime.window import MetricWindow
from jaxcnn.training.loop import Training
from jaxcnn.training.run import Run

# Blocks of the loop from one checkpoint to the next.
_BLOCKS = 4

# What `jaxcnn.training.run.Run.dispatches` gives: (number of updates, their batch, placed).
Dispatch = tuple[int, Any]


class Bare(NamedTuple):
    """Compiled steps without augmentation, to take the place of a run's."""

    train_step: Callable[..., Any]
    train_steps: Callable[..., Any]


BareOf = Callable[[Run, TrainState], Bare]


class TimedTraining:
    """The parts of a training, each timed by a method that gives {what it found: number}.

    Of steps that is milliseconds each, of `steps` of them at once and the devices waited for;
    `cpu_ms` is how long all threads of this process worked, which other programs on the machine
    change less. Of the loop, a block goes from one stop of `Training` to the next; between blocks
    it stands still.
    """

    def __init__(self, training: Training, bare: BareOf, steps: int, role: str, images: int):
        """bare: gives a run's steps without augmentation, compiled, for a state. steps: of two
          blocks, see `open_timed`.

        role, images: what is evaluated, and of how many images at most.
        """
        self._training, self._role = training, role
        self._evaluated = with_fewer(training.run, role, images)
        # The loop evaluates nothing: that is timed by itself.
        data = training.run.dataset
        alone = data._replace(splits={"train": data.splits["train"]})
        training.run = dataclasses.replace(training.run, dataset=alone)
        of_run = bare(training.run, training.state)
        self._bare = dataclasses.replace(training.run, **of_run._asdict())
        self._steps, self._seen = steps, 0
        self._first = next(training.run.dispatches(0))
        self._loop = iter(training)

    def close(self) -> None:
        """Ends the loop."""
        self._loop.close()  # type: ignore[attr-defined]

    def warm_up(self) -> None:
        """What is slow at first, and the first block of the loop."""
        for part in (self.bare, self.step, self.batches, self.evaluation):
            part()
        self._blocks(1)

    def bare(self) -> dict[str, float]:
        """The step without augmentation, on one batch over and over."""
        return self._time("bare_step", self._bare, repeat(self._first))

    def step(self) -> dict[str, float]:
        """The step, on one batch over and over."""
        return self._time("step", self._training.run, repeat(self._first))

    def batches(self) -> dict[str, float]:
        """The step, on batches as they come; the wait for the first is not counted."""
        run = self._training.run
        dispatches = run.dispatches(self._seen)
        self._seen += next(dispatches)[0] + self._steps
        return self._time("batches_step", run, dispatches)

    def loop(self) -> dict[str, float]:
        """Two blocks of the loop, and what two with a checkpoint between them take longer."""
        plain, plain_cpu = self._blocks(2)
        saving, saving_cpu = self._blocks(2)
        return {
            "loop_step_ms": plain / self._steps,
            "loop_step_cpu_ms": plain_cpu / self._steps,
            "checkpoint_ms": saving - plain,
            "checkpoint_cpu_ms": saving_cpu - plain_cpu,
        }

    def evaluation(self) -> dict[str, float]:
        """Evaluation, in images a second."""
        training, run = self._training, self._evaluated
        return {"evaluation_images_per_second": time_evaluation(run, training.state, self._role)}

    def _time(self, name: str, run: Run, dispatches: Iterable[Dispatch]) -> dict[str, float]:
        training = self._training
        training.state, wall, cpu = time_steps(run, training.state, dispatches, self._steps)
        return {f"{name}_ms": wall, f"{name}_cpu_ms": cpu}

    def _blocks(self, count: int) -> tuple[float, float]:
        """Milliseconds of so many blocks of the loop, until a checkpoint in them is written, and of
        CPU time.
        """
        clock, cpu = time.perf_counter(), time.process_time()
        for _ in range(count):
            if next(self._loop, None) is None or self._training.failed:
                raise UserError(next(iter(self._training.failed.values()), "the run has ended"))
        self._training.members[0].checkpoints.wait()
        return 1e3 * (time.perf_counter() - clock), 1e3 * (time.process_time() - cpu)


@contextmanager
def open_timed(
    config: ConfigDict,
    workdir: Path,
    bare: BareOf,
    steps: int,
    role: str,
    images: int,
    rounds: int,
    num_steps: int = 1,
) -> Iterator[TimedTraining]:
    """The training of a config in a directory, warm. steps: at once, an even number.

    rounds: how often each part is timed at most. num_steps: of the config's own training; one that
      is too short for that is made longer.

    Its loop logs as the config says, and at the end of each block; it writes a checkpoint at the
    end of every fourth block. TensorBoard's files, which a process of their own writes, are left
    out.
    """
    block = steps // 2
    values = flatten(config)
    for name, count in (
        ("num", max(num_steps, block * (_BLOCKS * rounds + 2) + 1)),
        ("eval_every", block),
        ("checkpoint_every", _BLOCKS * block),
    ):
        values |= {f"{name}_{unit}": None for unit in UNITS} | {f"{name}_steps": count}
    values["checkpoint_gap_seconds"] = 0.0  # each is timed until it is on the disk
    config = resolve(unflatten(values))
    with (
        Training([config], [workdir], tensorboard=False) as training,
        closing(TimedTraining(training, bare, steps, role, images)) as timed,
    ):
        timed.warm_up()
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
