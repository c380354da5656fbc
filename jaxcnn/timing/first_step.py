"""How long a user waits for the first training step: the command, started anew each time."""

import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxcnn.errors import UserError
from jaxcnn.timing.spread import Spread, spread

logger = logging.getLogger(__name__)

# The line of the first step, or of the first few where they are one program.
_FIRST_STEP = re.compile(r"step \d+ · .* for the first ")
# Lines of the log that say how long a part of the start took.
_PART = re.compile(r"[a-z].*\([\d.]+ s\)$")
_PATIENCE = 120.0


Parts = dict[str, list[str]]


class FirstStep(NamedTuple):
    """seconds: from the start of the process to the first step's loss. parts: what the log says of
    where they went.
    """

    seconds: float
    parts: list[str]


def measure_first_steps(arguments: Sequence[str], warm: int) -> tuple[dict[str, Spread], Parts]:
    """Starts `jaxcnn train` with these arguments, first with an empty compile cache, then
    `warm` times with what that start has left in it. Images are decoded before the first of them if
    they ever were on this machine. Raises UserError with what the command says of a mistake.

    Returns {"first_step_cold_s", "first_step_warm_s"} and what the log says of the first start and
    of the last; nothing where `warm` is 0.
    """
    if warm == 0:
        return {}, {}
    with tempfile.TemporaryDirectory(prefix="jaxcnn-benchmark-") as folder:
        cache = {
            "JAX_COMPILATION_CACHE_DIR": str(Path(folder, "xla")),
            # What `enable_compile_cache` would set for a cache of its own.
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        }
        started = []
        for number in range(1 + warm):
            workdir = str(Path(folder, f"run-{number}"))
            started.append(first_step([*arguments, "--workdir", workdir], cache))
            logger.info("start %d: %.2f s to the first step", number + 1, started[-1].seconds)
    found = {
        "first_step_cold_s": spread([started[0].seconds]),
        "first_step_warm_s": spread([one.seconds for one in started[1:]]),
    }
    return found, {"cold": started[0].parts, "warm": started[-1].parts}


def first_step(arguments: Sequence[str], environment: dict[str, str] | None = None) -> FirstStep:
    """Starts `jaxcnn train` with these arguments, and stops it after its first step."""
    command = [sys.executable, "-m", "jaxcnn", "train", *arguments]
    clock = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | (environment or {}),
    )
    try:
        parts: list[str] = []
        said = ""
        for line in process.stderr or ():
            if _FIRST_STEP.match(line):
                return FirstStep(time.perf_counter() - clock, parts)
            if _PART.match(said := line.strip()):
                parts.append(said)
    finally:
        _stop(process)
    if process.returncode == 2:
        raise UserError(said.removeprefix("error: "))
    raise RuntimeError(f"{command} ended with {process.returncode} before its first step: {said}")


def _stop(process: subprocess.Popen[str]) -> None:
    """And waits: what goes on in the background would slow down what is measured next."""
    process.terminate()
    try:
        process.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
