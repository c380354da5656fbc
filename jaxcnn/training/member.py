"""One of the runs that are trained together, and its directory. A run by itself is the only one."""

import dataclasses
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxcnn.config.durations import Plan
from jaxcnn.core.state import TrainState, all_finite
from jaxcnn.files.rundir import CHECKPOINTS, make_writable
from jaxcnn.pretrained.transfer import check_pretrained
from jaxcnn.runtime.checkpoint import Checkpoints
from jaxcnn.runtime.window import NonFiniteLoss
from jaxcnn.runtime.writers import MetricWriter
from jaxcnn.training.resume import check_same_config

logger = logging.getLogger(__name__)

# (step, value) of each evaluation, in order.
History = Sequence[tuple[int, float]]


@dataclasses.dataclass
class Member:
    """A run directory and how its run fares.

    has_checkpoint: whether there is a checkpoint to go on from. going: whether it still learns.
    failed: why it does not, in one line for the user; None if that was as planned.
    """

    config: ConfigDict
    workdir: Path
    checkpoints: Checkpoints
    has_checkpoint: bool
    going: bool = True
    failed: str | None = None
    writer: Any = None

    def write(self, step: int, epoch: float, split: str, metrics: dict[str, float]) -> None:
        """Appends a line to `metrics.jsonl`."""
        writer: MetricWriter = self.writer
        writer.write(step, epoch, split, metrics)

    def stops(self, plan: Plan) -> bool:
        """Whether the validation on record says that training shall end, see `should_stop`."""
        if plan.patience is None:
            return False
        metric = self.config.best_metric
        history = self.writer.history("validation", metric)
        rule = {"lower_is_better": metric == "loss", "min_delta": self.config.early_stop.min_delta}
        stops = should_stop(history, plan.patience, **rule)
        if stops and history[-1][0] < plan.num_steps:
            logger.info(
                "stopping at step %d: validation %s has not improved since step %d",
                history[-1][0],
                metric,
                best_step(history, **rule),
            )
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
        dtype = "--config.dtype=float32, " if self.config.dtype != "float32" else ""
        skip = ""
        if self.config.on_nonfinite == "stop":
            skip = ", or --config.on_nonfinite=skip if it is rare"
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
    """A run in its directory, which may have begun; UserError where that has another config, or
    cannot be written.
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
