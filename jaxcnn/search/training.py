"""The training of active trials, as one population if there are several."""

import gc
import logging
import time
from collections.abc import Sequence

from jaxcnn.errors import DiskError, UserError
from jaxcnn.runtime.memory import out_of_memory
from jaxcnn.runtime.preemption import Interrupted
from jaxcnn.search.study import StorageError, Study, storing
from jaxcnn.search.trial import show
from jaxcnn.search.trials import ActiveTrial, delete_checkpoints
from jaxcnn.training.loop import Training

logger = logging.getLogger(__name__)


def train_trials(study: Study, active: Sequence[ActiveTrial], limit: int, deadline: float) -> bool:
    """Trains trials, as one population if there are several, and reports them to the study. Those
    that the deadline or a signal stops stay "running" there, to be resumed.

    Returns whether there was memory for so many at once.
    """
    try:
        if time.monotonic() > deadline:
            return True
        for one in active:
            values = ", ".join(
                f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}"
                for key, value in one.trial.params.items()
            )
            logger.info("trial %d of %d: %s", one.number, limit, values)
        fit = _try(study, active, deadline)
    finally:
        for one in active:
            one.release()
    with storing(study.address):
        delete_checkpoints(study)
    return fit


def _try(study: Study, active: Sequence[ActiveTrial], deadline: float) -> bool:
    """Trains a population; where that fails, its halves one after the other. Returns whether there
    was memory for all.
    """
    try:
        _follow(study, active, deadline)
        return True
    except (Interrupted, StorageError, DiskError):  # these spoil all trials
        raise
    except Exception as error:  # the model's, the optimiser's, XLA's for want of memory
        going = [one for one in active if one.going]
        if not going or isinstance(error.__cause__, OSError):
            raise
        logger.debug("trials failed", exc_info=True)
        fit = not out_of_memory(error)
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        reason = " ".join(f"{kind}{error}".split())
    # Out here, without the traceback, nothing holds the arrays of those that failed any more.
    gc.collect()
    if len(going) == 1:
        _end(study, going[0], "failed", reason)
        return True
    numbers = ", ".join(str(one.number) for one in going)
    logger.warning("trials %s failed together, each half is tried: %s", numbers, reason[:200])
    half = len(going) // 2
    halves = [_try(study, some, deadline) for some in (going[:half], going[half:])]
    return fit and all(halves)


def _follow(study: Study, active: Sequence[ActiveTrial], deadline: float) -> None:
    configs, folders = [one.config for one in active], [one.folder for one in active]
    metric = configs[0].best_metric
    clock = time.monotonic()
    with Training(configs, folders, tensorboard=False) as training:
        for step, validations in training:
            clock = _share_time(active, clock)
            for number, metrics in validations.items():
                one = active[number]
                with storing(study.address):
                    one.note(step, metrics[metric])
                    worse = one.trial.should_prune()
                if worse and step < training.run.plan.num_steps:
                    training.stop(number)
                    _end(study, one, "pruned")
            plan = training.run.plan
            if time.monotonic() > deadline and step < plan.num_steps:
                if not plan.checkpoint_every.due(step):
                    training.save(step, validations, True)
                logger.info("the time is over; the same command goes on after step %d", step)
                return
    _share_time(active, clock)
    for number, one in enumerate(active):
        if number in training.failed:
            _end(study, one, "failed", training.failed[number].split(": try ")[0])
        elif one.going:
            _end(study, one, "complete")


def _share_time(active: Sequence[ActiveTrial], since: float) -> float:
    """Adds the time since then to the trials that are trained in it; returns the time now."""
    now = time.monotonic()
    going = [one for one in active if one.going]
    for one in going:
        one.seconds += (now - since) / len(going)
    return now


def _end(study: Study, one: ActiveTrial, state: str, reason: str = "") -> None:
    reason = " ".join(reason.split())
    with storing(study.address):
        one.end(state, reason)
        best = study.best()
    metric = one.config.best_metric
    if state == "failed":
        logger.warning("trial %d failed: %s", one.number, reason)
        return
    leader = "" if best is None else f" (best: trial {best.number}, {show(metric, best.value)})"
    logger.info("trial %d %s: %s%s", one.number, state, show(metric, one.best), leader)
