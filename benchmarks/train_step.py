"""Training images/s of jaxcnn beside plain Flax, Keras 3 and PyTorch, as Markdown tables.

    python benchmarks/train_step.py [--networks cnn resnet20_cifar] [--rounds 3] [--dtype bfloat16]

Each peer (benchmarks/peers/) has a process of its own with the same network, first weights, data
and optimiser, and does a few steps when it is its turn; all others are stopped then. Measured are
the bare step, on one batch that is on the device, and the whole loop as its users write it:
shuffled data, crop and flip, step, metrics. Before that all are checked to have as many parameters,
the same logits, and the same loss at each of three updates. A peer that is not installed, or cannot
run, is left out with a line that says why.

jaxcnn has the huge pages that its commands ask for (jaxcnn/runtime/huge_pages.py), the others have
what their users get who do nothing; --huge-pages gives the same to all.
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from peers.task import WIDTHS, write_data
from turns import Worker, hardware

from jaxcnn.runtime import huge_pages

HUGE_PAGES = huge_pages.variables(os.environ)
# What is told to users -> a module of benchmarks/peers/, and its environment
PEERS: dict[str, tuple[str, dict[str, str]]] = {
    "jaxcnn": ("jaxcnn_run", HUGE_PAGES),
    "Flax and tf.data": ("flax_tf_data", {}),
    "Keras on JAX": ("keras_fit", {"KERAS_BACKEND": "jax"}),
    "Keras on TensorFlow": ("keras_fit", {"KERAS_BACKEND": "tensorflow"}),
    "PyTorch": ("torch_loop", {}),
    "PyTorch, compiled": ("torch_loop", {"TORCH_COMPILE": "1"}),
}
# Logits and losses may differ by so much, relative to the largest; rounding grows with each update.
TOLERANCES = {"float32": (1e-4, 1e-3), "bfloat16": (5e-2, 1e-1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=WIDTHS, default=list(WIDTHS))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--dtype", choices=TOLERANCES, default="float32")
    parser.add_argument("--steps", type=int, default=24, help="of a turn")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--huge-pages", action="store_true", help="for all peers, not just jaxcnn")
    options = parser.parse_args()
    print(hardware())
    if HUGE_PAGES:
        print(f"Huge pages for {'all' if options.huge_pages else 'jaxcnn alone'}.")
    else:
        print("Huge pages as this environment and machine have them, for all.")
    for network in options.networks:
        with tempfile.TemporaryDirectory() as folder:
            write_data(Path(folder))
            measure(network, options, Path(folder))
    print(f"Load {os.getloadavg()[0]:.1f} at the end.")


def measure(network: str, options: argparse.Namespace, folder: Path) -> None:
    """Prints the table of a network."""
    given = [network, options.batch_size, options.dtype, str(folder), options.steps]
    workers: dict[str, Worker] = {}
    try:
        for name in options.peers:
            module, more = PEERS[name]
            more = more | HUGE_PAGES if options.huge_pages else more
            workers[name] = Worker(name, module, more, given, folder)
            if missing := workers[name].missing:
                print(f"{name} is left out: {missing}", flush=True)
                workers.pop(name).close()
        if not workers:
            raise SystemExit("there is nothing to measure")
        check({name: worker.found for name, worker in workers.items()}, options.dtype)
        turns = rounds(workers, options)
        parameters = next(iter(workers.values())).found["parameters"]
    finally:
        for worker in workers.values():
            worker.close()
    print(table(network, parameters, turns, options), flush=True)


def rounds(workers: dict[str, "Worker"], options: argparse.Namespace) -> dict[str, dict[str, list]]:
    """{"step" or "loop": {peer: images/s of each round}}, NaN for what a peer cannot do."""
    images = options.steps * options.batch_size
    speeds: dict[str, dict[str, list]] = {
        action: {name: [] for name in workers} for action in ("step", "loop")
    }
    for number in range(-1, options.rounds):  # the first one warms up
        for action, of_peer in speeds.items():
            for name in list(workers)[:: 1 if number % 2 else -1]:  # there and back
                if action == "step":
                    turn = workers[name].turn("step", options.steps, before=("step", 1))
                else:
                    turn = workers[name].turn("loop")
                if number >= 0:
                    of_peer[name].append(images / turn.get("seconds", float("nan")))
    return speeds


def check(found: dict[str, dict[str, Any]], dtype: str) -> None:
    """SystemExit unless all have computed the same."""
    first, expected = next(iter(found.items()))
    at_first, later = TOLERANCES[dtype]
    for name, own in found.items():
        if own["platform"] != expected["platform"]:
            raise SystemExit(
                f"{name} computes on the {own['platform']}, {first} on the {expected['platform']}: "
                f"install its build for the {expected['platform']}, or leave it out with --peers"
            )
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


if __name__ == "__main__":
    main()
