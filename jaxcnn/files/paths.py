"""Where runs are: folders of this machine, and gs://BUCKET/FOLDER of Google Cloud Storage.

A bucket's paths are those of etils.epath, which have the methods of pathlib's that are used here;
they talk to the bucket through gcsfs. What is written there is there whole or not at all. But a
bucket knows no folders, no appending, no renaming and no locks: what is done otherwise for that is
in this file, and nowhere else.
"""

import errno
import functools
import importlib.util
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any, TextIO, cast
from uuid import uuid4

from jaxcnn.errors import UserError

_HAS_GCSFS = importlib.util.find_spec("gcsfs") is not None
if _HAS_GCSFS:
    # Else epath would go through TensorFlow where that is installed, a way that nothing here was
    # tried on. It asks for this once, when its first path is used, which may be a local one.
    os.environ.setdefault("EPATH_USE_TF", "false")

# A Path has one slash of the two; one letter is a disk.
_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)

# What libraries take a name for: a pattern (epath's glob, and with it that of Orbax and TFDS, joins
# the folder's own name into it), a separator (TensorStore, "\\"), an address (epath, "/s3/...").
_PATTERN = "*?[]\\"
_ADDRESSES = "az|gs|hf|s3"
_MISREAD = re.compile(
    rf"[{re.escape(_PATTERN)}\ud800-\udfff]|^/({_ADDRESSES})(/|$)|({_ADDRESSES}):(/|$)"
)

# Whose errors are about a bucket, and no mistake in a program, in a process that has used one.
_CLIENTS = ("aiohttp", "gcsfs", "google.api_core", "google.auth", "requests")


def as_path(name: str | PurePath) -> Path:
    """Returns the path that a user names: of this machine (~ is expanded), or gs://BUCKET/PATH.

    An address becomes an `epath.Path`, see `in_bucket`. UserError for other addresses, and where
    the package that reads buckets is missing.
    """
    address = _ADDRESS.fullmatch(os.fspath(name))
    if address is None:
        return Path(name).expanduser()
    scheme, rest = address.groups()
    shown = f"{scheme}://{rest}"
    if scheme != "gs":
        raise UserError(f"{shown}: give a folder, or an address gs://BUCKET/FOLDER")
    if not all(rest.rstrip("/").partition("/")[::2]):
        raise UserError(f"{shown}: names no folder of a bucket; give gs://BUCKET/FOLDER")
    if any(letter in _PATTERN for letter in rest):
        raise UserError(
            f"{shown}: has one of {' '.join(_PATTERN)} in its name, which is taken for a pattern "
            "there; give a folder without"
        )
    return cast(Path, _bucket_paths()(shown.rstrip("/")))


def in_bucket(path: PurePath) -> bool:
    """Whether a path is an address."""
    return isinstance(path, PurePath) and not isinstance(path, Path)


def local(name: str | PurePath, flag: str, why: str) -> Path:
    """Returns a path of this machine; UserError for an address.

    flag: "--csv". why: "a search locks files".
    """
    if _ADDRESS.fullmatch(os.fspath(name)):
        raise UserError(f"{flag}={name}: is an address, and {why}; give a path of this machine")
    return Path(name).expanduser()


def check_bucket(path: Path, flag: str) -> None:
    """Tries to write to an address; UserError where that fails. flag: "--workdir"."""
    probe = path / f".writable-{uuid4()}"
    try:
        probe.write_bytes(b"")
        probe.unlink()
    except FileNotFoundError as error:
        bucket = os.fspath(path).split("/")[2]
        raise UserError(
            f"{flag}={path}: there is no bucket {bucket}; make it (gcloud storage buckets create "
            f"gs://{bucket}), or give another {flag}"
        ) from error
    except Exception as error:
        raise UserError(f"{flag}={path}: {_explain(error)}") from error


def refused(error: BaseException) -> str | None:
    """Returns what a bucket says, in one line, where an error is about that; else None."""
    if not _bucket_paths.cache_info().currsize:
        return None
    modules = [f"{one.__module__}." for one in type(error).__mro__]
    ours = any(module.startswith(f"{client}.") for module in modules for client in _CLIENTS)
    return f"the bucket: {_explain(error)}" if ours or _is_forbidden(error) else None


def _is_forbidden(error: BaseException) -> bool:
    """Whether the code was 403, for which gcsfs has no kind of error."""
    return isinstance(error, OSError) and str(error).startswith("Forbidden: ")


def _explain(error: BaseException) -> str:
    """Returns what went wrong, and what to do about it."""
    reason = " ".join(str(error).split())[:300]
    code = getattr(error, "code", None)
    if str(code) == "401" or _is_forbidden(error) or "credentials" in reason.lower():
        return (
            f"no leave to read and write there ({reason}); run gcloud auth application-default "
            "login, or give the machine's service account the roles Storage Object User and "
            "Storage Legacy Bucket Reader"
        )
    message = f"{type(error).__name__}: {reason}"
    return f"cannot be reached ({message}); look at the network, and start the same command again"


def is_file(path: Path) -> bool:
    """Whether a path is a file. An `epath.Path` asks twice, and is wrong about a folder whose last
    file goes meanwhile.
    """
    return bucket().isfile(os.fspath(path)) if in_bucket(path) else path.is_file()


def make_folder(path: Path) -> None:
    """Makes a folder; in a bucket it comes with its first file. Raises OSError."""
    if not in_bucket(path):  # of a bucket that is not there, gcsfs would make one
        path.mkdir(parents=True, exist_ok=True)


def absolute(path: Path) -> Path:
    """As `Path.absolute`; an address is that already."""
    return path if in_bucket(path) else path.absolute()


def plain_name(folder: Path) -> Path:
    """Returns the folder, absolute, under a name that each library takes for a name: its own, or,
    where that could be read as a pattern or an address, of a link to it that ends with the process.

    The folder need not be there, but a library that makes it needs it. UserError where there can be
    no link.

    >>> plain_name(Path("/runs/exp1"))
    PosixPath('/runs/exp1')
    >>> plain_name(Path("/runs/exp[v1]")).readlink()
    PosixPath('/runs/exp[v1]')
    """
    folder = absolute(folder)
    return folder if in_bucket(folder) or not _is_misread(folder) else _link(folder)


def _is_misread(path: Path) -> bool:
    return _MISREAD.search(path.as_posix()) is not None


@functools.cache
def _link(folder: Path) -> Path:
    try:
        link = Path(_links().name, uuid4().hex)
        link.symlink_to(folder, target_is_directory=True)
    except OSError as error:
        raise UserError(
            f"{folder}: has one of {' '.join(_PATTERN)} in its name, which libraries take for a "
            f"pattern, and there can be no link to it ({error.strerror}); rename that folder"
        ) from error
    return link


@functools.cache
def _links() -> tempfile.TemporaryDirectory[str]:
    """The folder of this process' links."""
    places = [Path(one).absolute() for one in (tempfile.gettempdir(), "/tmp", "/var/tmp")]
    place = next((one for one in places if not _is_misread(one)), places[0])
    return tempfile.TemporaryDirectory(
        prefix="jaxcnn-names-", dir=place, ignore_cleanup_errors=True
    )


def write(path: Path, content: str | bytes) -> None:
    """Writes a file whole or not at all. Raises OSError."""
    data = content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content
    if in_bucket(path):
        with os_errors(path):
            path.write_bytes(data)
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def names(folder: Path) -> list[str]:
    """Returns the names of what is in a folder; [] where there is none, or it may not be read. (A
    bucket may hold an empty object in place of a folder.)
    """
    try:
        return sorted(path.name for path in folder.iterdir() if path != folder)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return []


def files(folder: Path) -> dict[str, tuple[Path, int]]:
    """Returns {name in the folder: (path, bytes)} of all files in it, at any depth, in order."""
    if in_bucket(folder):
        objects = bucket().find(os.fspath(folder), detail=True)
        root = os.fspath(folder).removeprefix("gs://")
        sized = {
            name.removeprefix(f"{root}/"): one["size"]
            for name, one in objects.items()
            if not name.endswith("/") and name != root  # an object in place of a folder
        }
    else:
        inside = (file for file in folder.rglob("*") if file.is_file())
        sized = {one.relative_to(folder).as_posix(): one.stat().st_size for one in inside}
    return {name: (folder / name, sized[name]) for name in sorted(sized)}


def remove(path: Path) -> None:
    """Removes a file or a folder with all in it, if it is there and can be."""
    if in_bucket(path):
        cast(Any, path).rmtree(missing_ok=True)
    elif path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def move(path: Path, target: Path) -> None:
    """Renames a file or a folder, in place of a file or folder of that name. In a bucket that is a
    copy, which it makes itself, and a removal: a kill in between leaves both.
    """
    remove(target)
    if not in_bucket(path):
        path.replace(target)
        return
    inside = [path] if path.is_file() else [one for one, _ in files(path).values()]
    new = [os.fspath(target) + os.fspath(one).removeprefix(os.fspath(path)) for one in inside]
    with os_errors(path):
        bucket().copy(list(map(os.fspath, inside)), new)
    remove(path)


def copy(path: Path, target: Path) -> None:
    """Copies a file, wherever both are. Raises OSError."""
    with os_errors(path), path.open("rb") as content, target.open("wb") as file:
        shutil.copyfileobj(content, file, 1 << 20)


class Lines:
    """A text file that grows by lines.

    In a folder each line is on the disk when `add` returns. In a bucket, where a file can only be
    written anew, it is there after `keep` and `close`. All raise OSError.
    """

    def __init__(self, path: Path, lines: Iterable[str]):
        """lines: what is in the file already, with their line breaks."""
        self._path = path
        self._lines = list(lines) if in_bucket(path) else []
        self._kept = len(self._lines)
        self._file: TextIO | None = None if in_bucket(path) else path.open("a")

    def add(self, line: str) -> None:
        if self._file is None:
            self._lines.append(line)
        else:
            self._file.write(line)
            self._file.flush()

    def keep(self) -> None:
        """Writes the lines that are not in the file yet."""
        if self._kept < len(self._lines):
            write(self._path, "".join(self._lines))
            self._kept = len(self._lines)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
        self.keep()


@contextmanager
def os_errors(path: Path) -> Iterator[None]:
    """Turns what clients of buckets raise into OSError, as from a disk."""
    try:
        yield
    except FileNotFoundError as error:
        message = error.strerror or "no such bucket or file"
        raise FileNotFoundError(errno.ENOENT, message, os.fspath(path)) from error
    except Exception as error:
        if refused(error) is None:
            raise
        raise OSError(errno.EIO, _explain(error), os.fspath(path)) from error


@functools.cache
def _bucket_paths() -> Any:
    """Returns `epath.Path`, set up; UserError where a package is missing."""
    if not _HAS_GCSFS:
        raise UserError("gs://: buckets take the package gcsfs; pip install 'jaxcnn[gcs]'")
    from etils import epath
    from fsspec.config import conf

    # It would not see what TensorStore writes, nor what other machines do.
    conf.setdefault("gcs", {})["use_listings_cache"] = False
    logging.getLogger("gcsfs").setLevel(logging.CRITICAL)  # it raises what it logs, page after page
    return epath.Path


def bucket() -> Any:
    """The bucket's client, for what `epath` has no method for: many files in one call."""
    import fsspec

    return fsspec.filesystem("gcs")
