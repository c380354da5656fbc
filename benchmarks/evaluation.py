"""Images/s of exact evaluation beside those of training, in the same run, as a Markdown table.

    python benchmarks/evaluation.py [--networks cnn resnet20_cifar] [--rounds 7]

A run trains as `jaxcnn train` does, on 32x32 pixels with crop and flip; after every 10
steps all of its 2,500 test images are evaluated, every one once, to all metrics. CPU ms is how long
all threads worked for 128 images, which other programs on the machine change less.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from ml_collections import ConfigDict
from peers.jaxcnn_run import MODEL
from turns import hardware

from jaxcnn.config.keys import default_config, resolve
from jaxcnn.runtime import huge_pages
from jaxcnn.training.loop import Training

STEPS, TEST_IMAGES = 10, 2500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=MODEL, default=list(MODEL))
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    lines = [
        hardware(),
        "",
        "| images/s | training | evaluation | times as fast | by CPU ms |",
        "|---|---:|---:|---:|---:|",
    ]
    for network in options.networks:
        config = make_config(network, options)
        with tempfile.TemporaryDirectory() as workdir, Training([config], [Path(workdir)]) as run:
            lines.append(f"| {network} | {' | '.join(measure(run, options.rounds))} |")
    print("\n".join([*lines, "", f"Load {os.getloadavg()[0]:.1f} at the end."]))


def measure(training: Training, rounds: int) -> list[str]:
    """The cells of a run."""
    steps = iter(training)
    images = STEPS * training.run.config.batch_size
    ways: dict[str, tuple[Callable, int]] = {
        "training": (lambda: next(steps), images),
        "evaluation": (lambda: training.run.evaluate(training.state, "test"), TEST_IMAGES),
    }
    walls: dict[str, list[float]] = {name: [] for name in ways}
    works: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(-2, rounds):  # TensorBoard's writer is imported in the first one
        for name, (way, count) in ways.items():
            started, worked = time.perf_counter(), time.process_time()
            way()
            if number >= 0:
                walls[name].append((time.perf_counter() - started) / count)
                works[name].append((time.process_time() - worked) / count)
    speeds = [f"{1 / statistics.median(walls[name]):.0f}" for name in ways]
    return speeds + [
        f"{statistics.median(map(float.__truediv__, *(times[name] for name in ways))):.1f}x"
        for times in (walls, works)
    ]


def make_config(network: str, options: argparse.Namespace) -> ConfigDict:
    config = default_config()
    config.data.source, config.data.num_examples = "synthetic", 4 * TEST_IMAGES
    config.data.holdout = 0.0
    config.augment = (("crop", 4), "flip")
    config.batch_size, config.dtype = options.batch_size, options.dtype
    config.model.name = network
    config.model.update(MODEL[network])
    config.optimizer.name, config.optimizer.momentum = "sgd", 0.9
    config.optimizer.learning_rate, config.optimizer.weight_decay = 0.05, 5e-4
    config.num_steps = 1_000_000
    config.log_every_steps = config.eval_every_steps = STEPS
    config.checkpoint_every_steps = config.num_steps
    return resolve(config)


if __name__ == "__main__":
    huge_pages.start_again()  # as `jaxcnn train` does
    main()
