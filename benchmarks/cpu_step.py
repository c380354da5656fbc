"""What `jaxcnn.runtime.compile`, `jaxcnn.core.cpu` and `jaxcnn.native` win on a CPU.

    python benchmarks/cpu_step.py [--models cnn resnet20_cifar] [--batch-size 128] [--rounds 7]

One step of each way in turn, round after round, on random 32x32 images that are in memory already,
float32, with crop and flip: cnn as in experiments/cifar10.py, resnet20_cifar as it is. The ways are
Flax's layers as they are (plain), with the compiler's options, with the formulations too, and with
native code in their place, where a C++ compiler is found. Times are medians; CPU ms is how long all
threads worked, which other programs on the machine change less.
All have the huge pages of our commands, with GLIBC_TUNABLES=glibc.malloc.hugetlb=0 none.
"""

import argparse
import os
import statistics
import time
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxcnn import (
    AUGMENTATIONS,
    MODELS,
    compose,
    create_train_state,
    make_optimizer,
    make_train_step,
)
from jaxcnn.core.cpu import cpu_formulations
from jaxcnn.native.formulations import native_formulations
from jaxcnn.native.library import available
from jaxcnn.runtime import huge_pages
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
    if available():
        WAYS["options and native"] = (CPU_OPTIONS, native_formulations)
    print(
        f"jax {jax.__version__}, {options.batch_size} images a step, load {os.getloadavg()[0]:.1f}"
    )
    print(f"{'':40} ms a step  ratio   CPU ms  ratio compiling s")
    for name in options.models:
        measure(name, options.batch_size, options.rounds)
    print(f"load {os.getloadavg()[0]:.1f} at the end")


def measure(name: str, size: int, rounds: int) -> None:
    """Prints a line for each way."""
    model = MODELS[name](num_classes=10, **KEYWORDS.get(name, {}))
    tx = make_optimizer("sgd", 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    augment = compose([partial(AUGMENTATIONS["crop"], padding=4), AUGMENTATIONS["flip"]])
    state = jax.jit(partial(create_train_state, model, tx, image_shape=(32, 32, 3)))(
        jax.random.key(0)
    )
    batch = _batch(size)
    steps, compiling = {}, {}
    for way, (compiler_options, interceptor) in WAYS.items():
        step = make_train_step(model, tx, augment=augment, interceptor=interceptor)
        lowered = jax.jit(step).lower(state, batch)
        started = time.perf_counter()
        steps[way] = lowered.compile(compiler_options)
        compiling[way] = time.perf_counter() - started
        jax.block_until_ready(steps[way](state, batch))
    walls: dict[str, list[float]] = {way: [] for way in WAYS}
    works: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way, compiled in steps.items():
            started, worked = time.perf_counter(), time.process_time()
            jax.block_until_ready(compiled(state, batch))
            walls[way].append(1000 * (time.perf_counter() - started))
            works[way].append(1000 * (time.process_time() - worked))
    for way in WAYS:
        wall, work = statistics.median(walls[way]), statistics.median(works[way])
        print(
            f"{name:14} {way:25} {wall:11.0f} {statistics.median(walls['plain']) / wall:6.2f}"
            f"{work:9.0f} {statistics.median(works['plain']) / work:6.2f} {compiling[way]:11.1f}",
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
    huge_pages.start_again()  # as `jaxcnn train` does
    main()
