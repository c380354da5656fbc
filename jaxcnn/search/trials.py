"""Trials: which one is next, who trains it, what it has come to.

A worker holds a lock on `trials/<n>/.worker` while it trains trial n. When it dies, whatever the
cause, the lock is free; a trial that is running and whose lock can be taken is therefore one that a
dead worker has left, and is resumed from its checkpoint. A worker that has another folder sees none
of this: with a storage elsewhere a trial stays with the folder it was begun in, whatever the names
of folder and machine are by then. (`.lock` there is held by the training itself.)
"""

import json
import logging
import platform
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

from ml_collections import ConfigDict

from jaxcnn.config.keys import flatten, resolve, to_json, unflatten
from jaxcnn.config.table import FREE_ON_RESUME
from jaxcnn.errors import UserError
from jaxcnn.files.folders import check_writable
from jaxcnn.files.locks import has_locks, try_lock, wait_for_lock
from jaxcnn.files.rundir import CHECKPOINTS, LOCK, WORKER_LOCK, metric_lines
from jaxcnn.search.study import Study

logger = logging.getLogger(__name__)

# A trial that has had no place for so long was asked for by a worker that died there and then.
_NOBODYS = timedelta(minutes=1)


class ActiveTrial:
    """A trial that this process trains, and tells the study of.

    trial: Optuna's. folder: its run directory. history: {step: value on validation}. seconds: spent
      on it. going: whether it is still trained here.
    before: Optuna's frozen trial, if it was begun before and is resumed.
    """

    def __init__(
        self, trial: Any, config: ConfigDict, folder: Path, lock: TextIO, before: Any = None
    ):
        self.trial = trial
        self.number: int = trial.number
        self.config = config
        self.folder = folder
        self.history = read_history(folder, config.best_metric) if before else {}
        self.seconds: float = before.user_attrs.get("seconds", 0) if before else 0
        self._lock = lock
        self._reported = max(before.intermediate_values, default=0) if before else 0
        self.going = True
        for step, value in sorted(self.history.items()):
            self.note(step, value)

    def note(self, step: int, value: float) -> None:
        """Takes the evaluation at a step; one that is known, from before a kill, is told once."""
        self.history[step] = value
        # Pruners compare trials after as many evaluations, which is fair to all batch sizes.
        place = sum(known <= step for known in self.history)
        if place > self._reported:
            self.trial.report(value, place)
            self.trial.set_user_attr("seconds", round(self.seconds, 3))
            self._reported = place

    @property
    def best(self) -> float:
        """The best value so far."""
        choose = min if self.config.best_metric == "loss" else max
        return choose(self.history.values())

    def end(self, state: str, reason: str = "") -> None:
        """Tells the study that the trial is "complete", "pruned" or "failed"."""
        from optuna.trial import TrialState

        study = self.trial.study
        self.trial.set_user_attr("history", sorted(self.history.items()))
        self.trial.set_user_attr("seconds", round(self.seconds, 3))
        if state == "complete":
            study.tell(self.trial, self.best)
        elif state == "pruned":
            study.tell(self.trial, state=TrialState.PRUNED)
        else:
            self.trial.set_user_attr("reason", reason)
            study.tell(self.trial, state=TrialState.FAIL)
        self.going = False

    def release(self) -> None:
        """Leaves the trial and its folder: if it has not ended, to whoever goes on with it."""
        self._lock.close()


def start_trials(
    study: Study,
    configure: Callable[[Any], ConfigDict],
    sampler: Callable[[int], Any],
    limit: int,
    count: int,
) -> list[ActiveTrial]:
    """Up to `count` trials to train now: first those that dead workers have left, then new ones as
    long as the study has fewer than `limit`. None: there is nothing to do.

    configure: gives the config of an Optuna trial; what it raises UserError for, fails.
    sampler: gives what proposes the values of a trial, by its number.
    """
    begun: list[ActiveTrial] = []
    with wait_for_lock(study.workdir / LOCK):
        trials = study.trials()
        for frozen in trials:
            if len(begun) < count and (lock := _left(study, frozen)) is not None:
                study.optuna.sampler = sampler(frozen.number)
                trial = _reopen(study, frozen.number)
                logger.info("trial %d: goes on, its worker has ended", frozen.number)
                begun += _configured(study, trial, configure, lock, frozen)
        number = len(trials)
        while len(begun) < count and number < limit:
            _check_new(study.folder(number))
            study.optuna.sampler = sampler(number)
            trial = study.optuna.ask()
            if trial.number != number:  # workers without a common folder are as fast
                study.optuna.sampler = sampler(trial.number)
                _check_new(study.folder(trial.number))
            number = trial.number + 1
            study.folder(trial.number).mkdir(parents=True, exist_ok=True)
            if (lock := try_lock(study.folder(trial.number) / WORKER_LOCK)) is None:
                raise UserError(
                    f"{study.folder(trial.number)}: another search is at work in it; give a new "
                    "--workdir"
                )
            begun += _configured(study, trial, configure, lock)
    return begun


def _configured(
    study: Study,
    trial: Any,
    configure: Callable[[Any], ConfigDict],
    lock: TextIO,
    before: Any = None,
) -> list["ActiveTrial"]:
    """The trial with its values; nothing where these make no config: then it has failed."""
    folder = study.folder(trial.number)
    trial.set_user_attr("host", platform.node())
    trial.set_user_attr("folder", _identity(folder))
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
    return [ActiveTrial(trial, config, folder, lock, before)]


def _identity(folder: Path) -> int:
    """What a folder keeps when it is renamed, and a copy of it does not have."""
    return folder.stat().st_ino


def _check_new(folder: Path) -> None:
    """UserError where there is a run in the folder of a trial that has not begun."""
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if names - {WORKER_LOCK}:
        raise UserError(f"{folder}: holds trials of another study; give a new --workdir")


def _left(study: Study, frozen: Any) -> TextIO | None:
    """The lock of a trial that a dead worker has left here; None for any other."""
    if frozen.state.name != "RUNNING":
        return None
    folder, known = study.folder(frozen.number), frozen.user_attrs.get("folder")
    if known is None:
        started = frozen.datetime_start
        if started is None or datetime.now(started.tzinfo) - started < _NOBODYS:
            return None
        _check_new(folder)
    elif not (study.own or (folder.is_dir() and _identity(folder) == known)):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    return try_lock(folder / WORKER_LOCK)


def _reopen(study: Study, number: int) -> Any:
    """The trial of that number, to be suggested for and reported to again."""
    import optuna

    study_id = study.storage.get_study_id_from_name(study.optuna.study_name)
    trial_id = study.storage.get_trial_id_from_study_id_trial_number(study_id, number)
    return optuna.trial.Trial(study.optuna, trial_id)


def read_history(folder: Path, metric: str) -> dict[int, float]:
    """{step: value on validation} of a run that may not have begun, or was killed as it wrote."""
    found = metric_lines(folder)
    return {line["step"]: line[metric] for line in found if line["split"] == "validation"}


def config_of_trial(study: Study, number: int, given: ConfigDict) -> ConfigDict:
    """The config that a trial was trained with, but for what may differ when it is resumed."""
    kept = ConfigDict(json.loads(study.trials()[number].user_attrs["config"]))
    free = {key: value for key, value in flatten(given).items() if key.startswith(FREE_ON_RESUME)}
    return resolve(unflatten(flatten(kept) | free))


def trials_of_others(study: Study) -> list[int]:
    """The trials that other workers here are training now; the log names those of other folders."""
    busy: list[int] = []
    elsewhere: dict[int, str] = {}
    with wait_for_lock(study.workdir / LOCK):  # nobody begins a trial while its lock is tried here
        for frozen in study.trials("RUNNING"):
            path = study.folder(frozen.number) / WORKER_LOCK
            if not path.is_file():
                elsewhere[frozen.number] = frozen.user_attrs.get("host", "a machine unknown")
            elif (lock := try_lock(path)) is None:
                busy.append(frozen.number)
            else:
                lock.close()
    if elsewhere:
        told = ", ".join(f"{number} on {host}" for number, host in elsewhere.items())
        logger.warning("not ended, and to be resumed only where they were begun: trials %s", told)
    return busy


def delete_checkpoints(study: Study) -> None:
    """Of the trials that have ended, only the best keeps its checkpoints, or disks would fill."""
    ended = study.ended()
    best = study.best(ended)
    for frozen in ended:
        folder = study.folder(frozen.number)
        if (best is not None and frozen.number == best.number) or not folder.is_dir():
            continue
        if (lock := try_lock(folder / WORKER_LOCK)) is not None:  # nobody still writes there
            shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
            lock.close()


@contextmanager
def make_folder(workdir: Path) -> Iterator[None]:
    """Makes a tuning directory; it is gone again if what follows raises and nothing is in it.
    UserError where there is something else.
    """
    if workdir.is_file():
        raise UserError(f"--workdir={workdir}: is a file; give a folder for the search")
    names = {path.name for path in workdir.glob("[!.]*")}
    if names and "trials" not in names:
        raise UserError(
            f"--workdir={workdir}: holds other files ({min(names)}, ...) and no search; give a new "
            "or an empty folder"
        )
    check_writable(workdir, "workdir")
    try:
        (workdir / "trials").mkdir(parents=True, exist_ok=True)
        if not has_locks(workdir / LOCK):
            raise UserError(
                f"--workdir={workdir}: there are no locks on files, by which the workers of a "
                "search know of each other; give a folder of a local disk"
            )
    except OSError as error:
        raise UserError(
            f"--workdir={workdir}: cannot write there ({error.strerror}); give another --workdir"
        ) from error
    try:
        yield
    except UserError:
        if {path.name for path in workdir.iterdir()} == {"trials", LOCK}:
            with suppress(OSError):  # there are trials
                (workdir / "trials").rmdir()
                (workdir / LOCK).unlink()
                workdir.rmdir()
        raise
