"""A training on its way, of which one part at a time is timed."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxcnn.config import flatten, resolve, unflatten
from jaxcnn.core.state import TrainState
from jaxcnn.durations import UNITS
from jaxcnn.errors import UserError
from jaxcnn.run import Run
from jaxcnn.training import Training

# Blocks of the loop from one checkpoint to the next.
_BLOCKS = 4

Step = Callable[..., Any]


class TimedTraining:
    """The parts of a training, each timed by a method that gives {what it found: number}.

    Of steps that is milliseconds each, of `steps` of them at once and the devices waited for;
    `cpu_ms` is how long all threads of this process worked, which other programs on the machine
    change less. Of the loop, a block goes from one stop of `Training` to the next; between blocks
    it stands still.
    """

    def __init__(self, training: Training, bare_step: Step, steps: int, role: str, images: int):
        """bare_step: compiled without augmentation. steps: of two blocks; see `open_timed`.

        role, images: what is evaluated, and of how many images at most.
        """
        self._training, self._bare_step, self._role = training, bare_step, role
        self._evaluated = with_fewer(training.run, role, images)
        # The loop evaluates nothing: that is timed by itself.
        data = training.run.dataset
        alone = data._replace(splits={"train": data.splits["train"]})
        training.run = dataclasses.replace(training.run, dataset=alone)
        self._steps, self._seen = steps, 0
        self._batch = next(training.run.train_batches(0))
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
        return self._time("bare_step", self._bare_step, repeat(self._batch, self._steps))

    def step(self) -> dict[str, float]:
        """The step, on one batch over and over."""
        step = self._training.run.train_step
        return self._time("step", step, repeat(self._batch, self._steps))

    def batches(self) -> dict[str, float]:
        """The step, on batches as they come; the wait for the first is not counted."""
        run = self._training.run
        batches = run.train_batches(self._seen)
        next(batches)
        self._seen += 1 + self._steps
        return self._time("batches_step", run.train_step, islice(batches, self._steps))

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

    def _time(self, name: str, step: Step, batches: Iterable[Any]) -> dict[str, float]:
        training = self._training
        training.state, wall, cpu = time_steps(training.run, step, training.state, batches)
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
    bare_step: Step,
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
    config = resolve(unflatten(values))
    with (
        Training([config], [workdir], tensorboard=False) as training,
        closing(TimedTraining(training, bare_step, steps, role, images)) as timed,
    ):
        timed.warm_up()
        yield timed


def time_steps(
    run: Run, step: Step, state: TrainState, batches: Iterable[Any]
) -> tuple[TrainState, float, float]:
    """Trains on batches: the state after them, milliseconds a step, the devices waited for, and
    milliseconds that all threads of this process worked for a step.
    """
    jax.block_until_ready(state)
    before, clock, cpu = _number(run, state), time.perf_counter(), time.process_time()
    for batch in batches:
        state, _ = step(state, batch)
    jax.block_until_ready(state)
    seconds, worked = time.perf_counter() - clock, time.process_time() - cpu
    steps = _number(run, state) - before
    return state, 1e3 * seconds / steps, 1e3 * worked / steps


def _number(run: Run, state: TrainState) -> int:
    """How many steps a state has seen."""
    return int(run.parallel.one_copy(state.step))


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
