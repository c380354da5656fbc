"""Locks of the operating system on files: they go with the process that has one, however it ends.

Where there are no such locks (Windows, some network disks) nothing is held; for a disk the log says
so.
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
    """A lock, held until it is closed or the process ends; None where another process has it.

    Returns the file, to be read and appended to. Raises OSError where it cannot be opened.
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
    """Within, no other process has this lock; waits for it. Raises OSError as `try_lock` does."""
    with path.open("a") as file:
        _lock(file, path, wait=True)
        yield


def has_locks(path: Path) -> bool:
    """Whether a lock on this file would hold others off. Raises OSError as `try_lock` does."""
    with path.open("a") as file:
        try:
            return _lock(file, path, wait=False)
        except BlockingIOError:
            return True


def _lock(file: TextIO, path: Path, wait: bool) -> bool:
    """Whether it is held now; BlockingIOError where it is not to be waited for."""
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
