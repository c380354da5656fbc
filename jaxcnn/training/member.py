"""One of the runs that are trained together, and its directory. A run by itself is the only one."""

import dataclasses
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxcnn.config.choices import own_names
from jaxcnn.config.durations import Plan
from jaxcnn.config.experiment import definitions, source_of
from jaxcnn.config.keys import differences, flatten, load_config
from jaxcnn.config.table import FREE_ON_RESUME
from jaxcnn.core.state import TrainState, all_finite
from jaxcnn.data.source import Dataset
from jaxcnn.data.splits import describe
from jaxcnn.errors import UserError, command
from jaxcnn.files.rundir import (
    CHECKPOINTS,
    CONFIG,
    DATASET,
    EXPERIMENT,
    git_commit,
    make_writable,
    read_json,
    versions,
)
from jaxcnn.pretrained.transfer import check_pretrained
from jaxcnn.runtime.checkpoint import Checkpoints
from jaxcnn.runtime.window import NonFiniteLoss

logger = logging.getLogger(__name__)

# Keys that each process of a run may have its own values of.
_OWN = ("experiment", "data.dir", "data.manual_dir", "data.cache_", "data.num_workers")

# (step, value) of each evaluation, in order.
History = Sequence[tuple[int, float]]


@dataclasses.dataclass
class Member:
    """A run directory and the state of its run.

    has_checkpoint: whether there is a checkpoint to go on from. going: whether it still learns.
    failed: why it does not, in one line for the user; None if that was as planned.
    """

    config: ConfigDict
    workdir: Path
    checkpoints: Checkpoints
    has_checkpoint: bool
    going: bool = True
    failed: str | None = None
    writer: Any = None  # a MetricWriter, when the run has begun

    def stops(self, plan: Plan) -> bool:
        """Whether the validation on record says that training shall end, see `should_stop`."""
        if plan.patience is None:
            return False
        metric = self.config.best_metric
        history = self.writer.history("validation", metric)
        rule = {"lower_is_better": metric == "loss", "min_delta": self.config.early_stop.min_delta}
        stops = should_stop(history, plan.patience, **rule)
        if stops and history[-1][0] < plan.num_steps:
            message = "stopping at step %d: validation %s has not improved since step %d"
            logger.info(message, history[-1][0], metric, best_step(history, **rule))
        return stops

    def save(self, step: int, state: TrainState, validation: dict[str, float] | None) -> None:
        """Saves a state; NonFiniteLoss if it must not be saved. The loss tells of the parameters
        before a step; a checkpoint holds those after it.
        """
        if not all_finite(state.params):
            raise NonFiniteLoss(step + 1, math.nan)
        self.writer.keep()  # a run that goes on from here has these lines
        self.checkpoints.save(step, state, validation)
        self.writer.keep_tensorboard()

    def fail(self, error: NonFiniteLoss, learning_rate: float) -> None:
        """Ends this member for a loss that is no number."""
        self.checkpoints.wait()
        saved = self.checkpoints.latest_step()
        dtype = "--config.dtype=float32, " * (self.config.dtype != "float32")
        rare = self.config.on_nonfinite == "stop"
        skip = ", or --config.on_nonfinite=skip if it is rare" * rare
        self.going = False
        self.failed = (
            f"{error} (learning rate {learning_rate:.3g}): try {dtype}a lower "
            "--config.optimizer.learning_rate, a --config.optimizer.clip_norm or a longer "
            f"--config.schedule.warmup_epochs{skip}, with a new --workdir; "
            + ("nothing was saved" if saved is None else f"the last checkpoint is of step {saved}")
        )

    def close(self) -> None:
        """Waits for what is being written."""
        try:
            self.checkpoints.close()
        finally:
            if self.writer is not None:
                self.writer.close()


def open_member(config: ConfigDict, workdir: Path) -> Member:
    """Opens a run in its directory, which may have begun; UserError where that has another config,
    or cannot be written.
    """
    make_writable(workdir)
    checkpoints = Checkpoints(
        workdir / CHECKPOINTS, config.best_metric, gap=config.checkpoint_gap_seconds
    )
    try:
        if has_checkpoint := checkpoints.latest_step() is not None:
            check_same_config(config, workdir, finished=False)
        else:
            check_pretrained(config)
    except BaseException:
        checkpoints.close()
        raise
    return Member(config, workdir, checkpoints, has_checkpoint)


def best_step(history: History, *, lower_is_better: bool, min_delta: float = 0.0) -> int:
    """Returns the step of the best evaluation: the first one, or the last that was better by more
    than `min_delta` than the best before it.
    """
    sign = -1.0 if lower_is_better else 1.0
    best_at, best = history[0][0], sign * history[0][1]
    for step, value in history[1:]:
        if sign * value > best + min_delta:
            best_at, best = step, sign * value
    return best_at


def should_stop(
    history: History, patience: int, *, lower_is_better: bool, min_delta: float = 0.0
) -> bool:
    """Whether the last evaluation is `patience` steps or more after the best (Prechelt 1998)."""
    if not history:
        return False
    best = best_step(history, lower_is_better=lower_is_better, min_delta=min_delta)
    return history[-1][0] - best >= patience


def check_same_config(config: ConfigDict, workdir: Path, finished: bool) -> None:
    """UserError where the run in `workdir` has another config; what may change is logged."""
    _warn_of_other_definitions(config, workdir)
    changed = differences(load_config(workdir / CONFIG), config)
    for key in [key for key in changed if key.startswith(FREE_ON_RESUME)]:
        old, new = changed.pop(key)
        logger.info("config.%s was %r, is %r now", key, old, new)
    if not changed:
        return
    listed = ", ".join(f"config.{k} was {old!r}, is {new!r}" for k, (old, new) in changed.items())
    if finished and all(key.startswith("num_") for key in changed):
        longer = all(None not in pair and pair[0] < pair[1] for pair in changed.values())
        name = workdir.name + ("-longer" if longer else "-again")
        raise UserError(
            f"--workdir={workdir}: the run in it is finished, and its learning rate was scheduled "
            f"to end there ({listed}): train {'for longer' if longer else 'again'} in a new "
            f"--workdir, {command(workdir=str(workdir.with_name(name)))}"
        )
    raise UserError(
        f"--workdir={workdir}: the run in it has another config ({listed}); give a new --workdir, "
        "or the old values to resume it"
    )


def _warn_of_other_definitions(config: ConfigDict, workdir: Path) -> None:
    """Warns where the experiment file defines something else than when the run began."""
    own = {key: name for key, name in own_names(config).items() if ":" not in name}
    kept = workdir / EXPERIMENT
    if not own or not config.experiment or not kept.is_file():
        return
    if definitions(kept.read_text("utf-8")) != definitions(source_of(config.experiment)):
        used = ", ".join(f"{name} (config.{key})" for key, name in own.items())
        message = "%s has changed since the run began, which uses its %s"
        logger.warning(message, config.experiment, used)


def check_same_data(dataset: Dataset, workdir: Path) -> None:
    """UserError where the run in `workdir`, if there is one, began with other data."""
    previous = read_json(workdir / DATASET)
    if previous is not None and previous["identity"] != dataset.identity:
        sizes = {role: len(split) for role, split in dataset.splits.items()}
        raise UserError(
            f"--workdir={workdir}: the data have changed since the run in it began (images: "
            f"{previous['splits']} then, {sizes} now); give a new --workdir"
        )


def what_is_alike(config: ConfigDict, dataset: Dataset) -> dict[str, str]:
    """Returns what all processes of a run must have in common; each may keep data elsewhere."""
    values = {k: v for k, v in flatten(config).items() if not k.startswith(_OWN)}
    return {
        "an experiment file": source_of(config.experiment) if config.experiment else "",
        "a config": repr(sorted(values.items())),
        "data": dataset.identity,
        "a config.data.mode": dataset.mode,
        "versions": str(versions()),
        "a git commit": str(git_commit()),
    }


def describe_data(config: ConfigDict, dataset: Dataset, workdir: Path | None) -> dict[str, Any]:
    """Returns the content of `dataset.json`; what a run began with is kept, to normalise as it did.

    workdir: of a run that goes on; None for a new run.
    """
    previous = None if workdir is None else read_json(workdir / DATASET)
    if previous is not None and previous.get("identity") == dataset.identity:
        return previous
    return describe(dataset, config.data.mean, config.data.std)
