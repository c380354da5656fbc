"""How long a user waits for the first training step: the command, started anew each time."""

import logging
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxcnn.errors import UserError
from jaxcnn.timing.speed_table import Spread, spread

logger = logging.getLogger(__name__)

# The line of the first step, or of the first few where they are one program.
_FIRST_STEP = re.compile(r"step \d+ · .* for the first ")
# Lines of the log that say how long a part of the start took.
_PART = re.compile(r"[a-z].*\([\d.]+ s\)$")
_PATIENCE = 120.0


def measure_first_steps(
    arguments: Sequence[str], warm: int
) -> tuple[dict[str, Spread], dict[str, list[str]]]:
    """Starts `jaxcnn train` with these arguments, first with an empty compile cache, then
    `warm` times with what that start has left in it. Images are decoded before the first of them if
    they ever were on this machine. Raises UserError with what the command says of a mistake.

    Returns {"first_step_cold_s", "first_step_warm_s"} and what the log says of the first start and
    of the last; nothing where `warm` is 0.
    """
    if warm == 0:
        return {}, {}
    starts = []
    with tempfile.TemporaryDirectory(prefix="jaxcnn-benchmark-") as folder:
        cache = {
            "JAX_COMPILATION_CACHE_DIR": str(Path(folder, "xla")),
            # What `enable_compile_cache` would set for a cache of its own.
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1",
        }
        for number in range(1 + warm):
            workdir = str(Path(folder, f"run-{number}"))
            starts.append(first_step([*arguments, "--workdir", workdir], cache))
            logger.info("start %d: %.2f s to the first step", number + 1, starts[-1][0])
    cold, *again = [seconds for seconds, _ in starts]
    measured = {"first_step_cold_s": spread([cold]), "first_step_warm_s": spread(again)}
    return measured, {"cold": starts[0][1], "warm": starts[-1][1]}


def first_step(
    arguments: Sequence[str], environment: Mapping[str, str] | None = None
) -> tuple[float, list[str]]:
    """Starts `jaxcnn train` with these arguments, and stops it after its first step.

    Returns the seconds from the start of the process to that step's loss, and what the log says of
    where they went.
    """
    command = [sys.executable, "-m", "jaxcnn", "train", *arguments]
    clock = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | dict(environment or {}),
    )
    try:
        parts: list[str] = []
        message = ""
        for line in process.stderr or ():
            if _FIRST_STEP.match(line):
                return time.perf_counter() - clock, parts
            if _PART.match(message := line.strip()):
                parts.append(message)
    finally:
        _stop(process)
    if process.returncode == 2:
        raise UserError(message.removeprefix("error: "))
    raise RuntimeError(
        f"{command} ended with {process.returncode} before its first step: {message}"
    )


def _stop(process: subprocess.Popen[str]) -> None:
    """And waits: what goes on in the background would slow down what is measured next."""
    process.terminate()
    try:
        process.communicate(timeout=_PATIENCE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
