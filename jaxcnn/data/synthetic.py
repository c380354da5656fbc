"""Images made of noise and a class: for benchmarks, tests and shapes, never for accuracy."""

from functools import partial

import numpy as np

from jaxcnn.data.source import Content, Read, Source
from jaxcnn.errors import UserError


def load_synthetic(
    *,
    image_size: int | None = None,
    channels: int | None = None,
    num_classes: int | None = None,
    num_examples: int = 1024,
) -> dict[str, Source]:
    """Train (`num_examples`) and test (a quarter of it) of square images, 32x32x3 and 10 classes
    unless told otherwise. Example i is noise around a grey level that tells its class, i modulo K;
    it depends on nothing but i, so any part of a large set can be read alone.
    """
    if num_examples < 1:
        raise UserError(f"config.data.num_examples={num_examples}: expected a number above 0")
    size, channels = image_size or 32, channels or 3
    num_classes = num_classes or 10

    def reader(split_seed: int) -> Read:
        def read(index: np.ndarray) -> tuple[list[Content], np.ndarray]:
            label = (index % num_classes).astype(np.int32)
            return [image(split_seed, i) for i in index], label

        return read

    def labels(count: int) -> np.ndarray:
        return (np.arange(count) % num_classes).astype(np.int32)

    def image(split_seed: int, i: int) -> np.ndarray:
        random = np.random.Philox(key=[split_seed, i]).random_raw(-(-size * size * channels // 8))
        noise = random.view(np.uint8)[: size * size * channels].reshape(size, size, channels)
        level = 255 * (i % num_classes) / num_classes
        return ((noise + level) / 2).astype(np.uint8)

    names = tuple(f"class {k}" for k in range(num_classes))
    identity = f"synthetic {size}x{size}x{channels} in {num_classes} classes"
    sizes = {"train": num_examples, "test": max(num_examples // 4, 1)}
    return {
        split: Source(
            n,
            names,
            reader(seed),
            f"{identity}: {n} for {split}",
            labels=partial(labels, n),
            cached=False,
        )
        for seed, (split, n) in enumerate(sizes.items())
    }
