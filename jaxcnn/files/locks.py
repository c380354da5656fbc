"""Locks of the operating system on files: they go with the process that has one, however it ends.

Windows and some network disks have none: then every process gets its lock, and the log says so.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

logger = logging.getLogger(__name__)


def try_lock(path: Path) -> TextIO | None:
    """Locks a file, until it is closed or the process ends; None where another process has it.

    Returns the file, open for reading and appending. Raises OSError where it cannot be opened.
    """
    file = path.open("a+")
    try:
        _lock(file, path, wait=False)
    except BlockingIOError:
        file.close()
        return None
    return file


@contextmanager
def wait_for_lock(path: Path) -> Iterator[None]:
    """Waits for a lock, and has it within. Raises OSError as `try_lock` does."""
    with path.open("a") as file:
        _lock(file, path, wait=True)
        yield


def has_locks(path: Path) -> bool:
    """Whether files can be locked there. Raises OSError as `try_lock` does."""
    with path.open("a") as file:
        try:
            return _lock(file, path, wait=False)
        except BlockingIOError:
            return True


def _lock(file: TextIO, path: Path, wait: bool) -> bool:
    """Whether the file is locked now. BlockingIOError where another has it and `wait` is False."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        raise
    except OSError as error:
        logger.warning("%s: no locks there (%s)", path.parent, error.strerror)
        return False
    return True
