"""Files of a bucket on this machine, for those who can only read or write there."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jaxcnn.files.paths import bucket, copy, files, in_bucket, os_errors, remove


class LocalFolder:
    """A folder of this machine for those who can only write to one, in place of `folder`: that
    itself, or, if it is in a bucket, a temporary one whose files `keep` copies there.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._temporary = (
            tempfile.TemporaryDirectory(prefix="jaxcnn-", ignore_cleanup_errors=True)
            if in_bucket(folder)
            else None
        )
        self.path = folder if self._temporary is None else Path(self._temporary.name)
        self._copied: dict[str, tuple[int, int]] = {}

    def fetch(self) -> None:
        """Copies what is in the bucket here."""
        if self._temporary is not None:
            copy_here(self._folder, self.path)
            self._copied = {name: _state(file) for name, (file, _) in files(self.path).items()}

    def keep(self) -> None:
        """Copies the files that have changed since the last time to the bucket, and removes there
        those that are gone. Raises OSError.
        """
        if self._temporary is None:
            return
        found = {name: (file, _state(file)) for name, (file, _) in files(self.path).items()}
        for name, (file, state) in found.items():
            if self._copied.get(name) != state:
                copy(file, self._folder / name)
                self._copied[name] = state
        for name in self._copied.keys() - found.keys():
            remove(self._folder / name)
            del self._copied[name]

    def drop(self) -> None:
        """Removes what is temporary."""
        if self._temporary is not None:
            self._temporary.cleanup()


def copy_here(folder: Path, target: Path) -> None:
    """Copies the files of a folder in a bucket into one of this machine, many at once."""
    found = files(folder)
    places = [target / name for name in found]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
    with os_errors(folder):
        bucket().get([os.fspath(one) for one, _ in found.values()], list(map(os.fspath, places)))


@contextmanager
def here(path: Path) -> Iterator[Path]:
    """A file that is here as long as this is: itself, or a copy of one in a bucket."""
    if not in_bucket(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="jaxcnn-") as folder:
        file = Path(folder, path.name)
        copy(path, file)
        yield file


def _state(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns
