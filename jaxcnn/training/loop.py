"""The loop: runs on their way from step to step, one or several at once.

with Training([config], ["runs/mine"]) as training:
    for step, validations in training:
        print(step, validations[0]["accuracy"])
"""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import jax
from ml_collections import ConfigDict

from jaxcnn.builders.data import build_dataset
from jaxcnn.builders.devices import build_parallel, has_native_layers
from jaxcnn.config.experiment import experiment_record
from jaxcnn.config.keys import flatten, save_config
from jaxcnn.core.state import TrainState
from jaxcnn.core.step_wrappers import StepInput, last_of_scan
from jaxcnn.data.source import Dataset
from jaxcnn.errors import UserError
from jaxcnn.files import rundir
from jaxcnn.files.paths import as_path
from jaxcnn.pretrained.transfer import keep_origin, load_pretrained
from jaxcnn.runtime.compile import enable_compile_cache
from jaxcnn.runtime.distributed import check_alike, check_shared, is_first
from jaxcnn.runtime.memory import memory_peak
from jaxcnn.runtime.mesh import device_memory
from jaxcnn.runtime.preemption import Interrupted, StopRequest, catch_signals
from jaxcnn.runtime.profile import Profile
from jaxcnn.runtime.progress import Progress, setup_logging
from jaxcnn.runtime.window import MetricWindow, NonFiniteLoss
from jaxcnn.runtime.writers import MetricWriter, TensorBoard
from jaxcnn.training.first_state import checksum, describe_parameters, first_state
from jaxcnn.training.member import (
    Member,
    check_same_data,
    describe_data,
    open_member,
    what_is_alike,
)
from jaxcnn.training.run import Run, build_run, compile_run

logger = logging.getLogger(__name__)

_WHERE = {"memory": "in memory", "device": "on the devices", "stream": "streamed from disk"}


class Training:
    """Runs that go through the same steps, each in a directory of its own.

    Iterating trains; after each evaluation it gives (step, {number of a member: its metrics on
    validation}), without validation data the latter is empty. Saved are the checkpoints that the
    configs ask for. Test data are not looked at; see `jaxcnn.training.train.finish`.

    configs: resolved; several must be a group of `jaxcnn.training.population.groups`.
    tensorboard: whether TensorBoard's files are written. profile: whether a few steps are traced.
    Raises UserError, in `__enter__` and the loop, for what the user can mend; Interrupted after
    Ctrl-C or SIGTERM, when all is saved.

    >>> import jaxcnn
    >>> config = jaxcnn.load_config("runs/digits/config.json")
    >>> config.num_epochs = 1
    >>> with jaxcnn.Training([jaxcnn.resolve(config)], ["runs/loop"]) as training:
    ...     for step, validations in training:
    ...         print(step, "accuracy" in validations[0])
    21 True
    """

    def __init__(
        self,
        configs: Sequence[ConfigDict],
        workdirs: Sequence[str | Path],
        tensorboard: bool = True,
        profile: bool = False,
    ):
        self._runs = list(zip(configs, map(as_path, workdirs), strict=True))
        self._exit = ExitStack()
        self._tensorboard = TensorBoard() if tensorboard and is_first() else None
        self._histograms = tensorboard and configs[0].report.histograms
        self._profile = profile and is_first()
        self.members: list[Member] = []
        self.run: Run
        self.facts: dict[str, Any]
        self.state: TrainState
        self._start = 0

    def __enter__(self) -> "Training":
        setup_logging()
        enable_compile_cache()
        with ExitStack() as stack:
            if self._tensorboard is not None:
                stack.callback(self._tensorboard.close)
            for config, workdir in self._runs:
                if is_first():
                    stack.enter_context(rundir.lock_directory(workdir))
                check_shared(workdir)
                self.members.append(open_member(config, workdir))
                stack.callback(self.members[-1].close)
            self._begin()
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._exit.close()

    @property
    def failed(self) -> dict[int, str]:
        """Returns why members failed, by number, in one line each."""
        return {n: one.failed for n, one in enumerate(self.members) if one.failed is not None}

    def stop(self, number: int) -> None:
        """Ends a member; the others go on."""
        self.members[number].going = False

    def show(self, number: int, step: int, pictures: dict[str, bytes]) -> None:
        """Shows a member's PNG files, by name, in TensorBoard."""
        if self._tensorboard is not None:
            self._tensorboard.start()  # also of a run that had only its end to make
            self._tensorboard.images(self.members[number].workdir, step, pictures)

    def __iter__(self) -> Iterator[tuple[int, dict[int, dict[str, float]]]]:
        run, plan = self.run, self.run.plan
        for member in self.members:  # it may have been killed between this decision and its end
            member.going = member.going and not member.stops(plan)
        window = MetricWindow(run.parallel.each, run.config.max_skipped)
        progress = Progress(plan.num_steps, self._start, run.config.batch_size * len(self.members))
        profile = Profile(self.members[0].workdir if self._profile else None, self._start)
        step, line_due = self._start, None
        with catch_signals() as stop, progress, profile:
            for count, inputs in window.times.batches(self._batches(stop)):
                advance = run.train_step if count == 1 else run.train_steps
                with profile.step(step + 1, self.state), window.times.spent("dispatch"):
                    self.state, metrics = advance(self.state, inputs)
                step += count
                window.add(step, metrics, count)
                if self._tensorboard is not None:
                    self._tensorboard.start()  # its slow import, while the device is busy
                first = step == self._start + count
                if (first or progress.due()) and (latest := window.latest()):
                    progress.report(*latest)
                if line_due is not None:  # written when the devices have their next steps already
                    self._log(line_due, window)
                    line_due = None

                last, signal = step == plan.num_steps, _agreed(stop, window)
                saving = plan.checkpoint_every.due(step) or last
                # A checkpoint is ranked by its validation, so each has one; but for one in a hurry.
                evaluating = plan.eval_every.due(step) or saving
                if not evaluating and signal is None and self._going():
                    line_due = step if plan.log_every.due(step) else None
                    continue
                lines = self._log(step, window)
                inputs = inputs if count == 1 else last_of_scan(inputs)
                validations = self._validate(step, inputs) if evaluating else {}
                if evaluating:
                    progress.note(step, run.epoch(step), lines, validations)
                self.save(step, validations, saving or signal is not None)
                if signal is not None:
                    self._interrupt(signal, step)
                if evaluating:
                    yield step, validations
                if not self._going():
                    break
                window.restart_clock()
            if (signal := _agreed(stop, window)) is not None:  # it came with the last step
                self._interrupt(signal, step)

    def _interrupt(self, signal: int, step: int) -> None:
        """Raises Interrupted when all is saved; not where all have failed: that comes first."""
        if len(self.failed) < len(self.members):
            for member in self.members:
                member.checkpoints.wait()
            raise Interrupted(signal, step)

    def _batches(self, stop: StopRequest) -> Iterator[tuple[int, StepInput]]:
        return self.run.dispatches(self._start, stop) if self._going() else iter(())

    def _going(self) -> list[int]:
        return [number for number, member in enumerate(self.members) if member.going]

    def _log(self, step: int, window: MetricWindow) -> dict[int, dict[str, float]]:
        """Writes the lines of the steps since the last ones; a loss that is none ends its run."""
        collected, lines = window.collect(step), {}
        for number in self._going():
            line = collected[number]
            if isinstance(line, NonFiniteLoss):
                self._fail(number, line)
                continue
            line["learning_rate"] = float(self.run.schedules[number](step - 1))
            if self.run.least_step_ms is not None:
                line["mfu"] = round(self.run.least_step_ms / line["step_ms"], 4)
            line |= memory_peak()
            if line.get("skipped"):
                message = "%s: %d updates up to step %d were not finite and are left out"
                logger.warning(message, self.members[number].workdir, line["skipped"], step)
            self.members[number].writer.write(step, self.run.epoch(step), "train", line)
            lines[number] = line
        return lines

    def _validate(self, step: int, inputs: StepInput) -> dict[int, dict[str, float]]:
        """Writes the metrics on validation, and histograms where the config wants them."""
        run, results = self.run, {}
        if "validation" in run.dataset.splits and self._going():
            metrics = run.evaluate(self.state, "validation")
            for number in self._going():
                if not math.isfinite(loss := metrics[number]["loss"]):
                    self._fail(number, NonFiniteLoss(step, loss, "validation loss"))
                    continue
                writer = self.members[number].writer
                writer.write(step, run.epoch(step), "validation", metrics[number])
                results[number] = metrics[number]
        if self._histograms and self._going():
            histograms = run.histograms(self.state, inputs)  # all processes take part in this
            if self._tensorboard is not None:
                for number in self._going():
                    workdir = self.members[number].workdir
                    self._tensorboard.histograms(workdir, step, histograms[number])
        return results

    def save(self, step: int, validations: dict[int, dict[str, float]], saving: bool) -> None:
        """Saves all, or those that stop here; once in a step."""
        for number in self._going():
            member = self.members[number]
            stopping = number in validations and member.stops(self.run.plan)
            if not (saving or stopping):
                continue
            try:
                state = self.run.parallel.saved(self.state, number)
                member.save(step, state, validations.get(number))
            except NonFiniteLoss as error:
                self._fail(number, error)
            if stopping:
                member.going = False

    def _fail(self, number: int, error: NonFiniteLoss) -> None:
        self.members[number].fail(error, float(self.run.schedules[number](error.step - 1)))

    def _begin(self) -> None:
        """Loads data, builds, restores or initialises, compiles; writes what describes a run."""
        configs = [member.config for member in self.members]
        previous = next((member.workdir for member in self.members if member.has_checkpoint), None)
        known = rundir.read_json(previous / rundir.DATASET) if previous else None
        dataset = load_data(configs[0], known)
        check_alike(what_is_alike(configs[0], dataset))
        for member in self.members:
            if member.has_checkpoint:
                check_same_data(dataset, member.workdir)
        self.facts = facts = describe_data(configs[0], dataset, previous)
        self.run = run = build_run(configs, dataset, facts, build_parallel(configs))
        describe_parameters(run.make_states[0], run.rules)
        self._place_first_states()
        for member in self.members if is_first() else ():
            save_config(member.config, member.workdir)
            rundir.write_json(member.workdir / rundir.DATASET, facts)
            environment = rundir.environment() | experiment_record(member.config.experiment)
            environment |= {"native_layers": has_native_layers(member.config)}
            rundir.write_json(member.workdir / rundir.ENVIRONMENT, environment)
        self.run = compile_run(run, self.state)
        for member in self.members:
            member.writer = MetricWriter(member.workdir, self._start, self._tensorboard)
            if self._tensorboard is not None:
                self._tensorboard.hparams(member.workdir, flatten(member.config))

    def _place_first_states(self) -> None:
        run, states, starts = self.run, [], []
        for make_state, member in zip(run.make_states, self.members, strict=True):
            names, shape = run.dataset.class_names, run.dataset.image_shape
            begin_with = partial(
                load_pretrained, member.config, len(names), shape, class_names=names
            )
            begun = first_state(make_state, run.from_data, member.checkpoints, begin_with)
            state, start, origin = begun
            states.append(state)
            starts.append(start)
            if start == 0 and is_first():
                keep_origin(member.workdir, origin)
        if len(set(starts)) > 1:
            raise UserError(
                f"{self.members[0].workdir.parent}: the runs in it are at different steps now, as "
                "a damaged checkpoint was moved aside; start again, to resume each from its own"
            )
        self._start = starts[0]
        if self._start:
            logger.info("resuming from step %d of %d", self._start, run.plan.num_steps)
        if jax.process_count() > 1:
            check_alike({"first parameters": checksum(states)})
        self.state = run.parallel.place_states(states)


def _agreed(stop: StopRequest, window: MetricWindow) -> int | None:
    """Returns the signal to stop for; of several processes, one that all know of."""
    return stop.signal if jax.process_count() == 1 else window.signal


def load_data(config: ConfigDict, facts: dict[str, Any] | None = None) -> Dataset:
    """Returns the data set of a config, and logs what it is. facts: see `build_dataset`."""
    clock = time.perf_counter()
    dataset = build_dataset(config, device_memory(), facts)
    logger.info(
        "data: %s pixels, %d classes, %s images, %s (%.1f s)",
        "x".join(map(str, dataset.image_shape)),
        len(dataset.class_names),
        " + ".join(f"{len(split):,} {role}" for role, split in dataset.splits.items()),
        _WHERE[dataset.mode],
        time.perf_counter() - clock,
    )
    return dataset
