"""The run directory: small JSON files that together can rebuild a run."""

import functools
import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any
from uuid import uuid4

import jax

from jaxcnn.commands import without_password
from jaxcnn.errors import DiskError, UserError
from jaxcnn.files.locks import take
from jaxcnn.files.paths import check_bucket, in_bucket, is_file, names, write

logger = logging.getLogger(__name__)


def make_writable(workdir: Path) -> None:
    """Makes the run directory; UserError where that, or writing in it, is not possible."""
    if is_file(workdir):
        raise UserError(f"--workdir={workdir}: is a file; give a folder for the run")
    found = {name for name in names(workdir) if not name.startswith(".")}
    seeds = any(name.startswith("seed_") for name in found)
    if found and not (seeds or found & {"config.json", "metrics.jsonl", "checkpoints"}):
        raise UserError(
            f"--workdir={workdir}: holds other files ({min(found)}, ...) and no run; give a new or "
            "an empty folder"
        )
    if in_bucket(workdir):
        check_bucket(workdir, "--workdir")
        return
    probe = workdir / f".writable-{uuid4()}"  # two containers may have one process id
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(
            f"--workdir={workdir}: cannot write there ({error.strerror}); give another --workdir"
        ) from error


@contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Holds the run directory; UserError where another run does, in this process or another.

    A bucket has no locks: of two runs on one directory in it, each would destroy the other's.
    """
    if in_bucket(workdir):
        logger.info("%s: a bucket has no locks; start no second run on it", workdir)
        yield
        return
    path = workdir / ".lock"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = take(path)
    except OSError as error:
        raise DiskError(f"{path}: cannot be written ({error.strerror})") from error
    if file is None:
        holder = path.read_text().strip() or "another process"
        raise UserError(
            f"--workdir={workdir}: {holder} is training in it; wait until that is done, stop it, "
            "or give another --workdir"
        )
    with file:
        file.truncate(0)
        file.write(f"process {os.getpid()} on {platform.node()}\n")
        file.flush()
        try:
            yield
        finally:
            if names(workdir) == [path.name]:  # what was asked for could not begin
                path.unlink()


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a file whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, content: str) -> None:
    """Writes a file whole or not at all; UserError if the disk refuses."""
    try:
        write(path, content)
    except OSError as error:
        raise DiskError(f"{path}: cannot be written ({error.strerror})") from error


def read_json(path: Path) -> dict[str, Any] | None:
    """A file's content, None if there is no such file; UserError if it is damaged."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable ({error})") from error


def environment() -> dict[str, Any]:
    """Versions, devices, command line and git commit of this process, and how it gets memory."""
    return {
        "command": [sys.executable, *map(without_password, sys.argv)],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions(),
        "devices": [f"{d.platform}:{d.id} {d.device_kind}" for d in jax.devices()],
        "git_commit": git_commit(),
        "glibc_tunables": os.environ.get("GLIBC_TUNABLES"),
    }


def versions() -> dict[str, str | None]:
    """Of the packages that a result depends on; None for those that are not installed."""
    names = ("jaxcnn", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "clu",
             "ml-collections", "tensorflow", "tensorflow-datasets")  # fmt: skip
    return {name: _version(name) for name in names}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@functools.cache
def git_commit() -> str | None:
    """Of the code that runs; None where that is no git checkout."""
    folder = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
