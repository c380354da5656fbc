"""How long an exported model takes for 1 image and for 32, beside PyTorch, as a Markdown table.

    python benchmarks/latency.py [--networks cnn resnet20_cifar] [--rounds 9]

uint8 pixels in, probabilities out, on two CPU threads: model.onnx, as jaxcnn writes it, in
onnxruntime, and the same network with the same weights in PyTorch. Each has a process of its own,
which is stopped while another has its turn of 20 calls. All are checked to give the same
probabilities.
"""

import argparse
import os
import statistics
import tempfile
from pathlib import Path

import numpy as np
from peers.task import WIDTHS, write_data
from turns import Worker, hardware

CONTENDERS: dict[str, tuple[str, dict[str, str]]] = {
    "model.onnx in onnxruntime": ("onnx_inference", {}),
    "PyTorch, inference_mode": ("torch_inference", {}),
    "PyTorch, compiled": ("torch_inference", {"TORCH_COMPILE": "1"}),
}
BATCH_SIZES = (1, 32)
CALLS, WARM = 20, 3  # of a turn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=WIDTHS, default=list(WIDTHS))
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print(hardware())
    print("\n| median ms (95th percentile) | " + " | ".join(_columns()) + " |")
    print("|---|" + "---:|" * len(_columns()))
    for network in options.networks:
        with tempfile.TemporaryDirectory() as folder:
            write_data(Path(folder), max(BATCH_SIZES))
            measure(network, options.rounds, Path(folder))
    print(f"\nLoad {os.getloadavg()[0]:.1f} at the end.")


def _columns() -> list[str]:
    return [column for size in BATCH_SIZES for column in (f"batch {size}", "times the first")]


def measure(network: str, rounds: int, folder: Path) -> None:
    """Prints a line for each contender."""
    workers: dict[str, Worker] = {}
    given = [network, max(BATCH_SIZES), "float32", str(folder), 1]
    try:
        for name, (module, more) in CONTENDERS.items():
            worker = Worker(name, module, more, given, folder)
            if worker.missing:
                print(f"| {network}: {name} | not measured: {worker.missing} |")
                worker.close()
            else:
                workers[name] = worker
        check(workers)
        times = turns(workers, rounds)
    finally:
        for worker in workers.values():
            worker.close()
    first, *_ = times
    for name, of_sizes in times.items():
        cells = []
        for size, of_rounds in of_sizes.items():
            pairs = zip(of_rounds, times[first][size], strict=True)
            ratio = statistics.median(np.median(own) / np.median(base) for own, base in pairs)
            calls = np.concatenate(of_rounds)
            median, slow = np.percentile(calls, (50, 95))
            cells += [f"{median:.2f} ({slow:.2f})", f"{ratio:.2f}x"]
        print(f"| {network}: {name} | {' | '.join(cells)} |", flush=True)


def turns(workers: dict[str, Worker], rounds: int) -> dict[str, dict[int, list[list[float]]]]:
    """{contender: {batch size: of each round, ms of its calls}}."""
    times: dict[str, dict] = {name: {size: [] for size in BATCH_SIZES} for name in workers}
    for number in range(-1, rounds):  # the first one warms up
        for size in BATCH_SIZES:
            names = list(workers)
            begin = number % len(names)
            for name in names[begin:] + names[:begin]:
                taken = workers[name].turn("calls", size, CALLS, before=("calls", size, WARM))
                if number >= 0:
                    times[name][size].append(taken["value"])
    return times


def check(workers: dict[str, Worker]) -> None:
    """SystemExit unless all give the same probabilities."""
    first, expected = next((name, np.asarray(worker.found)) for name, worker in workers.items())
    for name, worker in workers.items():
        if (error := np.abs(np.asarray(worker.found) - expected).max()) > 1e-4:
            raise SystemExit(f"{name} and {first}: probabilities differ by {error:.1e}")


if __name__ == "__main__":
    main()
