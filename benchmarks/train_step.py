"""Training images/s of jaxcnn beside plain Flax, Keras 3 and PyTorch, as Markdown tables.

    python benchmarks/train_step.py [--networks cnn resnet20_cifar] [--rounds 7] [--dtype bfloat16]

Each peer (benchmarks/peers/) has a process of its own with the same network, first weights, data and
optimiser, and does a few steps when it is its turn; all others are stopped then. Measured are the
bare step, on one batch that is on the device, and the whole loop as its users write it: shuffled
data, crop and flip, step, metrics. Before that all are checked to have as many parameters, the same
logits, and the same loss after each of three updates. A peer that is not installed is left out.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from peers.task import WIDTHS, write_data

ROOT = Path(__file__).resolve().parents[1]

# What is told to users -> a module of benchmarks/peers/, and its environment
PEERS: dict[str, tuple[str, dict[str, str]]] = {
    "jaxcnn": ("jaxcnn_run", {}),
    "Flax and tf.data": ("flax_tf_data", {}),
    "Keras on JAX": ("keras_fit", {"KERAS_BACKEND": "jax"}),
    "Keras on TensorFlow": ("keras_fit", {"KERAS_BACKEND": "tensorflow"}),
    "PyTorch": ("torch_loop", {}),
    "PyTorch, compiled": ("torch_loop", {"TORCH_COMPILE": "1"}),
}
PACKAGES = ("jax", "flax", "keras", "tensorflow", "torch")
# Logits and losses may differ by so much, relative to the largest; rounding grows with each update.
TOLERANCES = {"float32": (1e-4, 1e-3), "bfloat16": (5e-2, 1e-1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=WIDTHS, default=list(WIDTHS))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--dtype", choices=TOLERANCES, default="float32")
    parser.add_argument("--steps", type=int, default=5, help="of a turn")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(hardware())
    for network in options.networks:
        with tempfile.TemporaryDirectory() as folder:
            write_data(Path(folder))
            measure(network, options, Path(folder))
    print(f"Load {os.getloadavg()[0]:.1f} at the end.")


def measure(network: str, options: argparse.Namespace, folder: Path) -> None:
    """Prints the table of a network."""
    given = [network, options.batch_size, options.dtype, str(folder), options.steps]
    workers = {}
    try:
        for name in options.peers:
            worker = Worker(name, given, folder)
            if "missing" in (found := worker.answer()):
                print(f"{name} is left out: {found['missing']} is not installed", flush=True)
                worker.close()
                continue
            worker.pause()
            workers[name] = worker, found
        check({name: found for name, (_, found) in workers.items()}, options.dtype)
        turns = rounds({name: worker for name, (worker, _) in workers.items()}, options)
    finally:
        for worker, _ in workers.values():
            worker.close()
    parameters = next(iter(workers.values()))[1]["parameters"]
    print(table(network, parameters, turns, options), flush=True)


def rounds(workers: dict[str, "Worker"], options: argparse.Namespace) -> dict[str, dict[str, list]]:
    """{"step" or "loop": {peer: images/s of each round}}, NaN for what a peer cannot do."""
    images = options.steps * options.batch_size
    speeds: dict[str, dict[str, list]] = {
        action: {name: [] for name in workers} for action in ("step", "loop")
    }
    for number in range(-1, options.rounds):  # the first one warms up
        for action, of_peer in speeds.items():
            names = list(workers)
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:  # each follows another one each time
                seconds = workers[name].seconds(action, options.steps)
                if number >= 0:
                    of_peer[name].append(images / seconds)
    return speeds


def check(found: dict[str, dict[str, Any]], dtype: str) -> None:
    """SystemExit unless all have computed the same."""
    first, expected = next(iter(found.items()))
    at_first, later = TOLERANCES[dtype]
    for name, own in found.items():
        if own["parameters"] != expected["parameters"]:
            raise SystemExit(
                f"{name} has {own['parameters']} parameters: {first} has another number"
            )
        for key, tolerance in (("logits", at_first), ("losses", later)):
            ours, theirs = np.asarray(expected[key]), np.asarray(own[key])
            if (error := np.abs(theirs - ours).max() / np.abs(ours).max()) > tolerance:
                raise SystemExit(f"{name} and {first}: {key} differ by {error:.1e}")
    told = ", ".join(f"{loss:.4f}" for loss in expected["losses"])
    print(f"\nAll {len(found)} give the same logits, and losses of {told}.", flush=True)


def table(
    network: str, parameters: int, speeds: dict[str, dict[str, list]], options: argparse.Namespace
) -> str:
    """A line for each peer: images/s, and how many times as fast the first peer is."""
    first = next(iter(speeds["step"]))
    lines = [
        f"\n{network}, {parameters:,} parameters, batches of {options.batch_size} x 32x32x3, "
        f"{options.dtype}: medians of {options.rounds} rounds of {options.steps} steps\n",
        f"| images/s | bare step | {first} is | whole loop | {first} is | loop / step |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in speeds["step"]:
        cells = []
        for of_peer in speeds.values():
            ratios = [a / b for a, b in zip(of_peer[first], of_peer[name], strict=True)]
            speed, ratio = statistics.median(of_peer[name]), statistics.median(ratios)
            measured = not np.isnan(speed)
            cells += [f"{speed:.0f}", f"{ratio:.2f}x"] if measured else ["not measured", ""]
        pairs = zip(speeds["loop"][name], speeds["step"][name], strict=True)
        share = statistics.median(loop / step for loop, step in pairs)
        cells.append("" if np.isnan(share) else f"{share:.2f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


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


class Worker:
    """The process of a peer; stopped but for its turns."""

    def __init__(self, name: str, given: list, folder: Path):
        module, more = PEERS[name]
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        # On a GPU none may take all of the memory that the others need too.
        env = {"PYTHONPATH": path, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"} | more
        self._name, self._log = name, folder / f"{name}.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, ROOT / "benchmarks/peers/worker.py", json.dumps([module, *given])],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=os.environ | env,
            )

    def answer(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            end = self._log.read_text()[-2000:]
            raise SystemExit(f"{end}\n{self._name} has failed: its last lines are above")
        return json.loads(line)

    def seconds(self, action: str, steps: int) -> float:
        """How long a turn takes; NaN if the peer lacks what it needs."""
        self._process.send_signal(signal.SIGCONT)
        if action == "step":
            self._tell(action, 1)  # its memory is back in the caches then
        answer = self._tell(action, *([steps] if action == "step" else []))
        self.pause()
        return answer.get("seconds", float("nan"))

    def _tell(self, *words: Any) -> dict[str, Any]:
        self._process.stdin.write(json.dumps(words) + "\n")
        self._process.stdin.flush()
        return self.answer()

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()


if __name__ == "__main__":
    main()
