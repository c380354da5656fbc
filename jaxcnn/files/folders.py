"""Folders: results written whole or not at all, files of a bucket on this machine, manifests."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jaxcnn.errors import UserError
from jaxcnn.files.paths import (
    as_path,
    bucket,
    check_bucket,
    copy,
    files,
    in_bucket,
    os_errors,
    remove,
    write,
)


def check_writable(folder: Path, flag: str) -> None:
    """UserError, before long work, where results cannot be written to `folder` as `flag` says."""
    if in_bucket(folder):
        check_bucket(folder, f"--{flag}")
        return
    at = next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)
    if not at.is_dir():
        raise UserError(f"--{flag}={folder}: {at} is a file; give a folder")
    if not os.access(at, os.W_OK | os.X_OK):
        raise UserError(f"--{flag}={folder}: cannot write there; give another --{flag}")


def write_files(folder: Path, files: Mapping[str, bytes | None], flag: str) -> None:
    """Writes files into a folder. UserError if the disk refuses.

    files: contents by name; None removes the file. Old files are replaced when all new ones are on
      the disk; in a bucket, one after the other.
    """
    try:
        if in_bucket(folder):
            for name, content in files.items():
                remove(folder / name) if content is None else write(folder / name, content)
            return
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder) as temporary:
            for name, content in files.items():
                if content is not None:
                    Path(temporary, name).write_bytes(content)
            for name, content in files.items():
                if content is None:
                    (folder / name).unlink(missing_ok=True)
                else:
                    Path(temporary, name).replace(folder / name)
    except OSError as error:
        raise UserError(f"--{flag}={folder}: cannot be written ({error.strerror})") from error


def json_file(value: str | None, name: str, flag: str) -> Path | None:
    """Returns the file that a flag names; None without a value. UserError, before long work, where
    it cannot be written.

    value: a .json file, or a folder for a file called `name`.
    """
    if value is None:
        return None
    path = as_path(value)
    file = path if path.suffix == ".json" else path / name
    check_writable(file.parent, flag)
    if file.is_dir():
        raise UserError(f"--{flag}={value}: {file} is a folder; give a file")
    return file


def write_json_file(file: Path, content: dict[str, Any], flag: str) -> None:
    """Writes the file whole or not at all; UserError if the disk refuses."""
    write_files(file.parent, {file.name: json.dumps(content, indent=2).encode() + b"\n"}, flag)


class LocalFolder:
    """A folder of this machine, for libraries that can only write to one: `folder` itself, or, if
    it is in a bucket, a temporary folder whose files `keep` copies there.
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
        """Copies the files of the bucket into the temporary folder."""
        if self._temporary is not None:
            download(self._folder, self.path)
            self._copied = {name: _state(file) for name, (file, _) in files(self.path).items()}

    def keep(self) -> None:
        """Copies the files that have changed since the last time to the bucket, and removes there
        those that are gone. Raises OSError.
        """
        if self._temporary is None:
            return
        present = {name: (file, _state(file)) for name, (file, _) in files(self.path).items()}
        for name, (file, state) in present.items():
            if self._copied.get(name) != state:
                copy(file, self._folder / name)
                self._copied[name] = state
        for name in self._copied.keys() - present.keys():
            remove(self._folder / name)
            del self._copied[name]

    def drop(self) -> None:
        """Removes the temporary folder."""
        if self._temporary is not None:
            self._temporary.cleanup()


def download(folder: Path, target: Path) -> None:
    """Copies the files of a folder in a bucket into one of this machine, many at once."""
    present = files(folder)
    places = [target / name for name in present]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
    with os_errors(folder):
        bucket().get([os.fspath(one) for one, _ in present.values()], list(map(os.fspath, places)))


@contextmanager
def local_file(path: Path) -> Iterator[Path]:
    """Gives a file of this machine: itself, or a temporary copy of one in a bucket."""
    if not in_bucket(path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="jaxcnn-") as folder:
        file = Path(folder, path.name)
        copy(path, file)
        yield file


def _state(file: Path) -> tuple[int, int]:
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns


def manifest(folder: Path) -> str:
    """Returns a line for each file in a folder: "<sha256>  <bytes>  <path>"."""
    present = files(folder)
    return "".join(f"{_sha256(file)}  {size}  {name}\n" for name, (file, size) in present.items())


def find_damage(folder: Path, manifest: Path) -> str | None:
    """Returns the first difference between a folder and its manifest; None if there is none."""
    present = files(folder)
    promises = [line.split("  ", 2) for line in manifest.read_text("utf-8").splitlines()]
    for digest, size, name in promises:
        if name not in present:
            return f"{name} is missing"
        file, actual = present[name]
        if actual != int(size):
            return f"{name} has {actual} bytes of {size}"
        if _sha256(file) != digest:
            return f"{name} has changed"
    return None if promises else "its manifest is empty"


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
