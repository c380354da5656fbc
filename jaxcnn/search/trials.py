"""The trials of a study: which one a worker trains next, how, and what is kept of it.

A worker holds a lock on `trials/<n>/.worker` while it trains trial n. When the worker dies, for
whatever reason, the lock is free: so a trial that is "running" and whose lock can be taken was left
by a dead worker, and is resumed from its checkpoint. A worker with another folder sees no locks:
where the storage is elsewhere, a trial stays with the folder in which it began, under whatever name
folder and machine have later. (The training itself holds `.lock` there.)
"""

import gc
import json
import logging
import platform
import shutil
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

from ml_collections import ConfigDict

from jaxcnn.config.keys import flatten, resolve, to_json, unflatten
from jaxcnn.config.table import FREE_ON_RESUME
from jaxcnn.errors import DiskError, UserError
from jaxcnn.files.locks import try_lock, wait_for_lock
from jaxcnn.files.rundir import CHECKPOINTS, LOCK, WORKER_LOCK, metric_lines
from jaxcnn.runtime.memory import out_of_memory
from jaxcnn.runtime.preemption import Interrupted
from jaxcnn.search.study import StorageError, Study, storing
from jaxcnn.search.trial import show
from jaxcnn.training.loop import Training

logger = logging.getLogger(__name__)

# A trial without a folder for so long is one whose worker died as it asked for it.
_WITHOUT_FOLDER = timedelta(minutes=1)


class ActiveTrial:
    """A trial that this process trains, and reports to the study.

    trial: Optuna's. folder: its run directory. history: {step: value on validation}. seconds: spent
      on it. going: whether it is still trained.
    """

    def __init__(
        self, study: Study, trial: Any, config: ConfigDict, lock: TextIO, previous: Any = None
    ):
        """previous: Optuna's frozen trial, of a trial that is resumed."""
        self.study = study
        self.trial = trial
        self.number: int = trial.number
        self.config = config
        self.folder = study.folder(trial.number)
        self.history = read_history(self.folder, config.best_metric) if previous else {}
        self.seconds: float = previous.user_attrs.get("seconds", 0) if previous else 0
        self.going = True
        self._lock = lock
        self._reported = max(previous.intermediate_values, default=0) if previous else 0
        for step, value in sorted(self.history.items()):
            self.note(step, value)

    def note(self, step: int, value: float) -> None:
        """Adds the evaluation at a step, and reports it; one from before a kill is not repeated."""
        self.history[step] = value
        # Pruners compare trials after as many evaluations, which is fair to all batch sizes.
        count = sum(known <= step for known in self.history)
        if count > self._reported:
            self.trial.report(value, count)
            self.trial.set_user_attr("seconds", round(self.seconds, 3))
            self._reported = count

    @property
    def best(self) -> float:
        """The best value until now."""
        choose = min if self.config.best_metric == "loss" else max
        return choose(self.history.values())

    def end(self, state: str, reason: str = "") -> None:
        """Tells the study, and the log, that the trial is "complete", "pruned" or "failed"."""
        from optuna.trial import TrialState

        reason, metric = " ".join(reason.split()), self.config.best_metric
        with storing(self.study.address):
            self.trial.set_user_attr("history", sorted(self.history.items()))
            self.trial.set_user_attr("seconds", round(self.seconds, 3))
            if state == "complete":
                self.study.optuna.tell(self.trial, self.best)
            elif state == "pruned":
                self.study.optuna.tell(self.trial, state=TrialState.PRUNED)
            else:
                self.trial.set_user_attr("reason", reason)
                self.study.optuna.tell(self.trial, state=TrialState.FAIL)
            best = self.study.best()
        self.going = False
        if state == "failed":
            logger.warning("trial %d failed: %s", self.number, reason)
            return
        leader = "" if best is None else f" (best: trial {best.number}, {show(metric, best.value)})"
        logger.info("trial %d %s: %s%s", self.number, state, show(metric, self.best), leader)

    def release(self) -> None:
        """Gives up the lock: another worker resumes a trial that has not ended."""
        self._lock.close()


def start_trials(
    study: Study,
    configure: Callable[[Any], ConfigDict],
    sampler: Callable[[int], Any],
    limit: int,
    count: int,
) -> list[ActiveTrial]:
    """Returns up to `count` trials to train now: first those that dead workers have left, then new
    ones as long as the study has fewer than `limit`; none if there is nothing to do.

    configure: Optuna trial -> config; a trial fails where it raises UserError.
    sampler: number of a trial -> the Optuna sampler that proposes its values.
    """
    import optuna

    active: list[ActiveTrial] = []
    with wait_for_lock(study.workdir / LOCK):
        trials = study.trials()
        study_id = study.storage.get_study_id_from_name(study.optuna.study_name)
        for frozen in trials:
            if len(active) < count and (lock := _take_left(study, frozen)) is not None:
                study.optuna.sampler = sampler(frozen.number)
                trial_id = study.storage.get_trial_id_from_study_id_trial_number(
                    study_id, frozen.number
                )
                trial = optuna.trial.Trial(study.optuna, trial_id)
                logger.info("trial %d: goes on, its worker has ended", frozen.number)
                active += _configured(study, trial, configure, lock, frozen)
        number = len(trials)
        while len(active) < count and number < limit:
            _check_new(study.folder(number))
            study.optuna.sampler = sampler(number)
            trial = study.optuna.ask()
            if trial.number != number:  # workers without a common folder are as fast
                study.optuna.sampler = sampler(trial.number)
                _check_new(study.folder(trial.number))
            number = trial.number + 1
            folder = study.folder(trial.number)
            folder.mkdir(parents=True, exist_ok=True)
            if (lock := try_lock(folder / WORKER_LOCK)) is None:
                raise UserError(f"{folder}: another search is at work in it; give a new --workdir")
            active += _configured(study, trial, configure, lock)
    return active


def _configured(
    study: Study,
    trial: Any,
    configure: Callable[[Any], ConfigDict],
    lock: TextIO,
    previous: Any = None,
) -> list[ActiveTrial]:
    """The trial with its config; [] where its values make no config: then it has failed."""
    folder = study.folder(trial.number)
    trial.set_user_attr("host", platform.node())
    trial.set_user_attr("folder", folder.stat().st_ino)
    try:
        config = configure(trial)
    except UserError as error:
        from optuna.trial import TrialState

        logger.warning("trial %d failed: %s", trial.number, error)
        trial.set_user_attr("reason", str(error))
        study.optuna.tell(trial, state=TrialState.FAIL)
        lock.close()
        return []
    trial.set_user_attr("config", to_json(config))
    return [ActiveTrial(study, trial, config, lock, previous)]


def _check_new(folder: Path) -> None:
    """UserError where there is a run in the folder of a trial that has not begun."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if names - {WORKER_LOCK}:
        raise UserError(f"{folder}: holds trials of another study; give a new --workdir")


def _take_left(study: Study, frozen: Any) -> TextIO | None:
    """The lock of a trial that a dead worker has left here; None for any other."""
    if frozen.state.name != "RUNNING":
        return None
    folder, inode = study.folder(frozen.number), frozen.user_attrs.get("folder")
    if inode is None:
        started = frozen.datetime_start
        if started is None or datetime.now(started.tzinfo) - started < _WITHOUT_FOLDER:
            return None
        _check_new(folder)
    # A folder keeps its inode when it is renamed; a copy has another.
    elif not (study.own or (folder.is_dir() and folder.stat().st_ino == inode)):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    return try_lock(folder / WORKER_LOCK)


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
        fit = _try(active, deadline)
    finally:
        for one in active:
            one.release()
    with storing(study.address):
        delete_checkpoints(study)
    return fit


def _try(active: Sequence[ActiveTrial], deadline: float) -> bool:
    """Trains a population; where that fails, its halves one after the other. Returns whether there
    was memory for all.
    """
    try:
        _follow(active, deadline)
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
        going[0].end("failed", reason)
        return True
    numbers = ", ".join(str(one.number) for one in going)
    logger.warning("trials %s failed together, each half is tried: %s", numbers, reason[:200])
    half = len(going) // 2
    halves = [_try(some, deadline) for some in (going[:half], going[half:])]
    return fit and all(halves)


def _follow(active: Sequence[ActiveTrial], deadline: float) -> None:
    configs, folders = [one.config for one in active], [one.folder for one in active]
    metric = configs[0].best_metric
    clock = time.monotonic()
    with Training(configs, folders, tensorboard=False) as training:
        for step, validations in training:
            clock = _share_time(active, clock)
            for number, metrics in validations.items():
                one = active[number]
                with storing(one.study.address):
                    one.note(step, metrics[metric])
                    worse = one.trial.should_prune()
                if worse and step < training.run.plan.num_steps:
                    training.stop(number)
                    one.end("pruned")
            plan = training.run.plan
            if time.monotonic() > deadline and step < plan.num_steps:
                if not plan.checkpoint_every.due(step):
                    training.save(step, validations, True)
                logger.info("the time is over; the same command goes on after step %d", step)
                return
    _share_time(active, clock)
    for number, one in enumerate(active):
        if number in training.failed:
            one.end("failed", training.failed[number].split(": try ")[0])
        elif one.going:
            one.end("complete")


def _share_time(active: Sequence[ActiveTrial], since: float) -> float:
    """Adds the time since then to the trials that are trained in it; returns the time now."""
    now = time.monotonic()
    going = [one for one in active if one.going]
    for one in going:
        one.seconds += (now - since) / len(going)
    return now


def read_history(folder: Path, metric: str) -> dict[int, float]:
    """{step: value on validation} of a run that may not have begun, or was killed as it wrote."""
    lines = metric_lines(folder)
    return {line["step"]: line[metric] for line in lines if line["split"] == "validation"}


def config_of_trial(study: Study, number: int, config: ConfigDict) -> ConfigDict:
    """The config that a trial was trained with; what may change on resume is as in `config`."""
    own = json.loads(study.trials()[number].user_attrs["config"])
    free = {key: value for key, value in flatten(config).items() if key.startswith(FREE_ON_RESUME)}
    return resolve(unflatten(flatten(ConfigDict(own)) | free))


def trials_of_others(study: Study) -> list[int]:
    """The numbers of the trials that other workers train here now; the log names those of other
    folders.
    """
    busy: list[int] = []
    elsewhere: list[str] = []
    with wait_for_lock(study.workdir / LOCK):  # nobody begins a trial while its lock is tried here
        for frozen in study.trials("RUNNING"):
            path = study.folder(frozen.number) / WORKER_LOCK
            if not path.is_file():
                host = frozen.user_attrs.get("host", "a machine unknown")
                elsewhere.append(f"{frozen.number} on {host}")
            elif (lock := try_lock(path)) is None:
                busy.append(frozen.number)
            else:
                lock.close()
    if elsewhere:
        message = "not ended, and to be resumed only where they were begun: trials %s"
        logger.warning(message, ", ".join(elsewhere))
    return busy


def delete_checkpoints(study: Study) -> None:
    """Deletes the checkpoints of all trials that have ended but the best, or disks would fill."""
    ended, best = study.ended(), study.best()  # in this order: one that ends meanwhile may be best
    for frozen in ended:
        folder = study.folder(frozen.number)
        if (best is not None and frozen.number == best.number) or not folder.is_dir():
            continue
        if (lock := try_lock(folder / WORKER_LOCK)) is not None:  # nobody still writes there
            shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
            lock.close()
