"""Processes that take turns, so that each has the machine for itself; what machine it is."""

import datetime
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

# Ends as an error does, not without ending the processes it started: they are stopped.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
# On a GPU none, this process neither, may take all of the memory that the others need too.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("jax", "flax", "keras", "tensorflow", "torch", "onnxruntime")


class Worker:
    """The process of a peer; stopped but for its turns.

    module: of benchmarks/peers/; more: its environment. given: the fields of its `Task`.
    found: what its `check` gives, None where it cannot run here: `missing` says why.
    """

    def __init__(self, name: str, module: str, more: dict[str, str], given: list, folder: Path):
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        self._log = folder / f"{name}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, ROOT / "benchmarks/peers/worker.py", json.dumps([module, *given])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | {"PYTHONPATH": path} | more,
            )
        try:
            first = self._answer()
        except RuntimeError as error:
            first = {"missing": str(error)}
        self.missing, self.found = first.get("missing"), first.get("value")
        self._pause()

    def _answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            said = [line for line in self._log.read_text().splitlines() if line.strip()]
            errors = [line for line in said if "Error" in line.split(":")[0]]
            (last,) = (errors or said or ["it said nothing"])[-1:]
            raise RuntimeError(f"its process has ended: {last.strip()}")
        return json.loads(line)

    def turn(self, action: str, *arguments: Any, before: tuple = ()) -> dict[str, Any]:
        """{"seconds", "value"} of an action, {"missing"} if the peer lacks what it needs.

        before: what to do first: the memory of the peer is back in the caches then.
        """
        self._process.send_signal(signal.SIGCONT)
        if before:
            self._tell(*before)
        answer = self._tell(action, *arguments)
        self._pause()
        return answer

    def _tell(self, *words: Any) -> dict[str, Any]:
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


def hardware() -> str:
    """What the numbers hold for, in a line."""
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return (
        f"{device()}, {', '.join(versions)}, Python {platform.python_version()}, "
        f"{datetime.date.today()}, load {os.getloadavg()[0]:.1f} at the start."
    )


def device() -> str:
    import jax

    if jax.default_backend() != "cpu":
        return f"{jax.device_count()} {jax.devices()[0].device_kind}"
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{os.cpu_count()} CPU cores ({names[0] if names else platform.machine()})"
