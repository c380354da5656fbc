"""The run directory: small JSON files that together can rebuild a run."""

import functools
import json
import os
import platform
import re
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
from jaxcnn.locks import take

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # of gs://BUCKET; one letter is a disk


def make_writable(workdir: Path) -> None:
    """Makes the run directory; UserError where that, or writing in it, is not possible."""
    if workdir.parts and _SCHEME.fullmatch(workdir.parts[0]):  # a Path has one slash of two
        address = workdir.as_posix().replace(":/", "://", 1)
        raise UserError(
            f"--workdir={address}: addresses of buckets are not supported yet; give a folder"
        )
    if workdir.is_file():
        raise UserError(f"--workdir={workdir}: is a file; give a folder for the run")
    names = {path.name for path in workdir.glob("[!.]*")}
    seeds = any(name.startswith("seed_") for name in names)
    if names and not (seeds or names & {"config.json", "metrics.jsonl", "checkpoints"}):
        raise UserError(
            f"--workdir={workdir}: holds other files ({min(names)}, ...) and no run; give a new or "
            "an empty folder"
        )
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
    """Holds the run directory; UserError where another run does, in this process or another."""
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
        yield


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes a file whole or not at all."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def write_text(path: Path, content: str) -> None:
    """Writes a file whole or not at all; UserError if the disk refuses."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(content)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
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
    """Versions, devices, command line and git commit of this process."""
    return {
        "command": [sys.executable, *map(without_password, sys.argv)],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions(),
        "devices": [f"{d.platform}:{d.id} {d.device_kind}" for d in jax.devices()],
        "git_commit": git_commit(),
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
