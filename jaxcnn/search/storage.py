"""Where a study is kept: in a journal file, an SQL database, or behind Optuna's gRPC proxy."""

import importlib.util
import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxcnn.errors import UserError, without_password

JOURNAL = "study.journal"


class StorageError(UserError):
    """The study's storage does not answer; nothing is wrong with the trial that was to be told."""


def check_installed() -> None:
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
        _mend(path)
        return storages.JournalStorage(journal.JournalFileBackend(str(path)))
    if not url.startswith("grpc://"):
        return storages.RDBStorage(url)
    host, _, port = url.removeprefix("grpc://").rstrip("/").rpartition(":")
    if not host or not port.isdecimal():
        raise UserError(f"--storage={without_password(url)}: expected grpc://HOST:PORT")
    return storages.GrpcStorageProxy(host=host, port=int(port))


def _mend(path: Path) -> None:
    """Cuts off a last line that a full disk has left without its end; UserError for other files."""
    from optuna.storages.journal import JournalFileSymlinkLock

    if not path.is_file():
        return
    lock = JournalFileSymlinkLock(str(path))  # or it could be a line that a worker is writing
    lock.acquire()
    try:
        _cut(path)
    finally:
        lock.release()


def _cut(path: Path) -> None:
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
