"""The run directory: the names of all that is in it, and the small files that rebuild a run."""

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

from jaxcnn.errors import DiskError, UserError, this_program, without_password
from jaxcnn.files.locks import try_lock
from jaxcnn.files.paths import check_bucket, in_bucket, is_file, names, plain_name, write

logger = logging.getLogger(__name__)

# What `training.loop` writes as a run begins, and `runtime.writers` line by line.
CONFIG, DATASET, ENVIRONMENT, METRICS = (
    "config.json", "dataset.json", "environment.json", "metrics.jsonl"
)  # fmt: skip
EXPERIMENT = "experiment.py"  # a copy of the experiment file, which may define the model
CHECKPOINTS = "checkpoints"
PRETRAINED = "pretrained.json"  # where the first weights came from
EVALUATION = "eval.json"  # the final test; its being there says that the run has ended
REPORT, REPORT_PAGE, EXPORT = "report", "report.html", "export"
CALIBRATION = "calibration.json"  # a temperature, fitted by `jaxcnn evaluate`
LOCK = ".lock"  # of who trains in it, or, in the directory of a search, of its list of trials
WORKER_LOCK = ".worker"  # of who works on a trial
_SEED = "seed_"


def has_run(workdir: Path) -> bool:
    """Whether a run has begun there."""
    return (workdir / CONFIG).is_file()


def seed_folder(workdir: Path, seed: int) -> Path:
    """The run directory of one seed, in that of several."""
    return workdir / f"{_SEED}{seed}"


def seed_names(workdir: Path) -> list[str]:
    """The names of the run directories of seeds in a directory of several; [] in others."""
    return [n for n in names(workdir) if n.startswith(_SEED) and (workdir / n).is_dir()]


def metric_lines(workdir: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`; [] where there is none. A last line that is not whole, of a run
    that is writing it or was killed as it did, is left out. UserError for a damaged one.
    """
    path = workdir / METRICS
    lines = path.read_text("utf-8").splitlines(keepends=True) if path.is_file() else []
    return [metric_line(path, n, line) for n, line in enumerate(lines, 1) if line.endswith("\n")]


def metric_line(path: Path, number: int, line: str) -> dict[str, Any]:
    """The content of one line of `metrics.jsonl`; UserError if it is none."""
    try:
        content = json.loads(line)
        if "step" in content:
            return content
    except (ValueError, TypeError):
        pass
    raise UserError(f"{path}: line {number} is damaged; delete that line")


def make_writable(workdir: Path) -> None:
    """Makes the run directory; UserError where that, or writing in it, is not possible."""
    if is_file(workdir):
        raise UserError(f"--workdir={workdir}: is a file; give a folder for the run")
    content = {name for name in names(workdir) if not name.startswith(".")}
    seeds = any(name.startswith(_SEED) for name in content)
    if content and not (seeds or content & {CONFIG, METRICS, CHECKPOINTS}):
        raise UserError(
            f"--workdir={workdir}: holds other files ({min(content)}, ...) and no run; give a new "
            "or an empty folder"
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
    plain_name(workdir)  # where there can be none, that is told before training


@contextmanager
def lock_directory(workdir: Path) -> Iterator[None]:
    """Locks the run directory within; UserError where another run has it, here or elsewhere.

    A bucket has no locks: of two runs on one directory in it, each would destroy the other's.
    """
    if in_bucket(workdir):
        logger.info("%s: a bucket has no locks; start no second run on it", workdir)
        yield
        return
    path = workdir / LOCK
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = try_lock(path)
    except OSError as error:
        raise DiskError(f"{path}: cannot be written ({error.strerror})") from error
    if file is None:
        holder = path.read_text("utf-8").strip() or "another process"
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
    """Returns the content of a file; None if there is none. UserError if it is damaged."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable ({error})") from error


def environment() -> dict[str, Any]:
    """Returns the content of `environment.json`, about this process."""
    import jax

    name, *words = sys.argv
    program = this_program() if name.startswith("jaxcnn ") else [sys.executable, name]
    return {
        "command": [*program, *map(without_password, words)],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": versions(),
        "devices": [f"{d.platform}:{d.id} {d.device_kind}" for d in jax.devices()],
        "git_commit": git_commit(),
        "glibc_tunables": os.environ.get("GLIBC_TUNABLES"),
    }


def versions() -> dict[str, str | None]:
    """Returns the versions of the packages that results depend on; None for what is missing."""
    names = ("jaxcnn", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "clu",
             "ml-collections", "tensorflow", "tensorflow-datasets")  # fmt: skip
    found = {name: _version(name) for name in names}
    return found | {"tensorflow": found["tensorflow"] or _version("tensorflow-cpu")}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


@functools.cache
def git_commit() -> str | None:
    """Returns the commit of the code that runs; None outside a git checkout."""
    folder = Path(__file__).parent
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
