"""What the compiler options of `jaxcnn.runtime.compile` win on a CPU, in interleaved rounds.

    python benchmarks/cpu_options.py [--batch-size 128] [--rounds 4] [--steps 3]

One train step of CNN(filters=(32, 64, 128)) on 32x32 images, float32, with crop and flip.
"""

import argparse
import statistics
import time
from functools import partial

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
from jaxcnn.runtime.compile import CPU_OPTIONS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    size = options.batch_size

    model = MODELS["cnn"](num_classes=10)
    tx = make_optimizer("sgd", 0.1, momentum=0.9, nesterov=True, weight_decay=5e-4)
    augment = compose([partial(AUGMENTATIONS["crop"], padding=4), AUGMENTATIONS["flip"]])
    state = create_train_state(model, tx, jax.random.key(0), (32, 32, 3))
    random = np.random.default_rng(0)
    batch = {
        "image": random.integers(0, 256, (size, 32, 32, 3), np.uint8),
        "label": random.integers(0, 10, size).astype(np.int32),
        "mask": np.ones(size, bool),
        "index": np.arange(size, dtype=np.int32),
    }
    lowered = jax.jit(make_train_step(model, tx, augment=augment)).lower(state, batch)
    steps = {"plain": lowered.compile(), "with options": lowered.compile(CPU_OPTIONS)}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(options.rounds):
        for name, step in steps.items():
            for _ in range(options.steps):
                started = time.perf_counter()
                jax.block_until_ready(step(state, batch))
                times[name].append(1000 * (time.perf_counter() - started))
    plain, fast = (statistics.median(times[name]) for name in steps)
    print(f"jax {jax.__version__}, {size} images: {plain:.0f} ms a step plain, {fast:.0f} ms with "
          f"options: {plain / fast:.2f} times as fast")  # fmt: skip


if __name__ == "__main__":
    main()
