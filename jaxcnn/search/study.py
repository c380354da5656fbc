"""The study: what is searched and the trials so far, which all workers of a search share; and where
it is stored: in a journal file, an SQL database, or behind Optuna's gRPC proxy.
"""

import importlib.util
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxcnn.config.keys import differences, resolve, to_json
from jaxcnn.config.table import FREE_ON_RESUME
from jaxcnn.errors import UserError, without_password

JOURNAL = "study.journal"
# In a tuning directory whose study is elsewhere: the name that it has there.
_NAME = ".study"


class StorageError(UserError):
    """The study's storage does not answer; nothing is wrong with the trial that was reported."""


class Study(NamedTuple):
    """A study, and the directory with the runs of the trials that are trained here.

    optuna, storage: Optuna's. address: of the storage, as messages name it. own: whether the study
      is in that directory too, so that who sees one sees the other.
    """

    optuna: Any
    storage: Any
    workdir: Path
    address: str
    own: bool

    def trials(self, *states: str) -> list[Any]:
        """Optuna's frozen trials, in order, in the states of these names; without names all."""
        from optuna.trial import TrialState

        chosen = tuple(TrialState[state] for state in states) or None
        return self.optuna.get_trials(deepcopy=False, states=chosen)

    def ended(self) -> list[Any]:
        """Those that are not trained any more."""
        return self.trials("COMPLETE", "PRUNED", "FAIL")

    def best(self) -> Any:
        """The complete trial with the best value, the first of equals; None where there is none."""
        choose = min if self.optuna.direction.name == "MINIMIZE" else max
        return choose(self.trials("COMPLETE"), key=lambda trial: trial.value, default=None)

    def folder(self, number: int) -> Path:
        """The run directory of a trial."""
        return self.workdir / "trials" / str(number)


def open_study(
    url: str | None,
    workdir: Path,
    config: ConfigDict,
    distributions: Mapping[str, Any],
    pruner: Any,
    grid: int | None = None,
) -> Study:
    """Opens the study of a directory in a storage, or begins it there with the directory's name.

    url: see `open_storage`. grid: the seed of its order where the trials are the points of a grid.
    Raises UserError if the study is about another config or another space.
    """
    import optuna

    storage, address, own = open_storage(url, workdir), address_of(url, workdir), url is None
    # The name is that of the directory when the study was begun, whatever it is now.
    if own:
        names = [study.study_name for study in storage.get_all_studies()]
    else:
        names = [(workdir / _NAME).read_text("utf-8")] if (workdir / _NAME).is_file() else []
    name = names[0] if len(names) == 1 else workdir.resolve().name
    try:
        study = optuna.load_study(study_name=name, storage=storage, pruner=pruner)
    except KeyError:
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            direction="minimize" if config.best_metric == "loss" else "maximize",
            pruner=pruner,
            load_if_exists=True,  # another worker may have been faster
        )
    space = {
        key: json.loads(optuna.distributions.distribution_to_json(one))
        for key, one in distributions.items()
    }
    attributes = {"config": json.loads(to_json(config)), "space": space, "grid": grid}
    stored = study.user_attrs
    if {"config", "space"} <= stored.keys():
        _check_same(workdir, stored, config, space, grid)
    elif study.get_trials(deepcopy=False):
        raise UserError(
            f"{address}: the study {name!r} in it is not one of jaxcnn tune; give a --workdir of "
            "another name, a study has the name of its folder"
        )
    for key in attributes.keys() - stored.keys():
        study.set_user_attr(key, attributes[key])
    if not own:
        (workdir / _NAME).write_text(name)
    return Study(study, storage, workdir, address, own)


def _check_same(
    workdir: Path,
    stored: Mapping[str, Any],
    config: ConfigDict,
    space: Mapping[str, Any],
    grid: int | None,
) -> None:
    """UserError where the attributes of a stored study say something else than these."""
    previous = resolve(ConfigDict(stored["config"] | {"experiment": config.experiment}))
    changed = {
        f"config.{key}": pair
        for key, pair in differences(previous, config).items()
        if not key.startswith(FREE_ON_RESUME)
    }
    old = stored["space"]
    changed |= {
        f"search.{key}": (_spec(old.get(key)), _spec(space.get(key)))
        for key in sorted(old.keys() | space.keys())
        if old.get(key) != space.get(key)
    }
    if "grid" in stored and stored["grid"] != grid:  # a point would come twice, another never
        seeds = stored["grid"], grid
        old_order, order = (
            "another than grid" if seed is None else f"grid with --seed={seed}" for seed in seeds
        )
        changed["--sampler"] = old_order, order
    if changed:
        listed = ", ".join(f"{key} was {a!r}, is {b!r}" for key, (a, b) in changed.items())
        raise UserError(
            f"--workdir={workdir}: the search in it is another one ({listed}); give a new "
            "--workdir, or the old values to go on with it"
        )


def _spec(distribution: Mapping[str, Any] | None) -> str | None:
    """A distribution's JSON in the words of --search."""
    if distribution is None:
        return None
    attributes = distribution["attributes"]
    if "choices" in attributes:
        return "|".join(map(str, attributes["choices"]))
    return f"{'log ' * bool(attributes.get('log'))}{attributes['low']:g} {attributes['high']:g}"


def check_installed() -> None:
    """UserError where Optuna is not installed; else it is made quiet."""
    for name in ("optuna", "cmaes"):
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"{name} is not installed, which tuning takes; pip install 'jaxcnn[tune]'"
            )
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)


@contextmanager
def storing(address: str) -> Iterator[None]:
    """Turns what a storage raises into one line for the user."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # of SQL drivers, gRPC, JSON, the disk
        text = str(error.__cause__ if isinstance(error, ImportError) and error.__cause__ else error)
        if hasattr(error, "details"):  # gRPC's, whose text has many lines
            text = error.details()
        text = " ".join(text.split("\n")[0].split()) or type(error).__name__
        raise StorageError(
            f"{address}: cannot be used ({without_password(text)[:300]}); mend that, or give "
            "another --storage; the same command goes on with a search that has begun"
        ) from error


def address_of(url: str | None, workdir: Path) -> str:
    """How messages name a storage."""
    return f"{workdir / JOURNAL}" if url is None else f"--storage={without_password(url)}"


def open_storage(url: str | None, workdir: Path) -> Any:
    """Optuna's storage at an address; None: a journal file in `workdir`. Raises what it raises."""
    from optuna import storages
    from optuna.storages import journal

    if url is None:
        path = workdir / JOURNAL
        if path.is_file():
            lock = journal.JournalFileSymlinkLock(str(path))  # a worker may be writing a line
            lock.acquire()
            try:
                _mend(path)
            finally:
                lock.release()
        return storages.JournalStorage(journal.JournalFileBackend(str(path)))
    if not url.startswith("grpc://"):
        return storages.RDBStorage(url)
    host, _, port = url.removeprefix("grpc://").rstrip("/").rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"--storage={without_password(url)}: expected grpc://HOST:PORT")
    return storages.GrpcStorageProxy(host=host, port=int(port))


def _mend(path: Path) -> None:
    """Cuts off a last line that a full disk has left without its end; UserError for other files."""
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    try:
        if lines and "op_code" not in json.loads(lines[0]):
            raise ValueError
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: is not Optuna's journal; give another --workdir") from error
    if lines and not lines[-1].endswith(b"\n"):
        with path.open("r+b") as file:
            file.truncate(len(content) - len(lines[-1]))
