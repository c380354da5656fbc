"""What `jaxcnn.runtime.compile` and `jaxcnn.core.cpu` win on a CPU, in interleaved rounds.

    python benchmarks/cpu_step.py [--models cnn resnet20_cifar] [--batch-size 128] [--rounds 7]

One step of each way in turn, round after round, on random 32x32 images that are in memory already,
float32, with crop and flip: cnn as in experiments/cifar10.py, resnet20_cifar as it is. The ways are
Flax's layers as they are (plain), with the compiler's options, and with the formulations too; each
in training and in evaluation. Times are medians; CPU is the time that all threads worked, which
other programs on the machine change less.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxcnn import (
    AUGMENTATIONS,
    MODELS,
    compose,
    create_train_state,
    make_eval_step,
    make_optimizer,
    make_train_step,
)
from jaxcnn.core.cpu import cpu_formulations
from jaxcnn.runtime.compile import CPU_OPTIONS

KEYWORDS: dict[str, dict[str, Any]] = {"cnn": {"filters": (48, 96, 192), "pool_first": True}}
WAYS: dict[str, tuple[Any, Any]] = {
    "plain": (None, None),
    "options": (CPU_OPTIONS, None),
    "options and formulations": (CPU_OPTIONS, cpu_formulations),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--models", nargs="+", default=["cnn", "resnet20_cifar"])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    print(
        f"jax {jax.__version__}, {options.batch_size} images a step, load {os.getloadavg()[0]:.1f}"
    )
    print(f"{'':52} ms a step   CPU ms  times as fast  compiling s")
    for name in options.models:
        measure(name, options.batch_size, options.rounds)
    print(f"load {os.getloadavg()[0]:.1f} at the end")


def measure(name: str, size: int, rounds: int) -> None:
    """Prints a line for each way and each kind of step."""
    model = MODELS[name](num_classes=10, **KEYWORDS.get(name, {}))
    tx = make_optimizer("sgd", 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    augment = compose([partial(AUGMENTATIONS["crop"], padding=4), AUGMENTATIONS["flip"]])
    state = jax.jit(partial(create_train_state, model, tx, image_shape=(32, 32, 3)))(
        jax.random.key(0)
    )
    batch = _batch(size)
    kinds: dict[str, Callable[..., Any]] = {
        "training": partial(make_train_step, model, tx, augment=augment),
        "evaluation": partial(make_eval_step, model),
    }
    for kind, make in kinds.items():
        steps, compiling = {}, {}
        for way, (compiler_options, interceptor) in WAYS.items():
            lowered = jax.jit(make(interceptor=interceptor)).lower(state, batch)
            started = time.perf_counter()
            steps[way] = lowered.compile(compiler_options)
            compiling[way] = time.perf_counter() - started
            jax.block_until_ready(steps[way](state, batch))
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way, step in steps.items():
                started, worked = time.perf_counter(), time.process_time()
                jax.block_until_ready(step(state, batch))
                times[way].append((time.perf_counter() - started, time.process_time() - worked))
        medians = {
            way: [statistics.median(each) for each in zip(*times[way], strict=True)] for way in WAYS
        }
        for way, (wall, worked) in medians.items():
            print(
                f"{name:14} {kind:10} {way:25} {1000 * wall:11.0f} {1000 * worked:8.0f} "
                f"{medians['plain'][0] / wall:14.2f} {compiling[way]:12.1f}",
                flush=True,
            )


def _batch(size: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {
        "image": random.integers(0, 256, (size, 32, 32, 3), np.uint8),
        "label": random.integers(0, 10, size).astype(np.int32),
        "mask": np.ones(size, bool),
        "index": np.arange(size, dtype=np.int32),
    }


if __name__ == "__main__":
    main()
