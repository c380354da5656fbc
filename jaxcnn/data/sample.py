"""A few training images, for what a model takes from the data before its first step."""

import numpy as np

from jaxcnn.data.pipeline import eval_batches
from jaxcnn.data.source import Split

# As many as 5,000 images of CIFAR-10 have.
PIXELS = 5_000 * 32 * 32


def sample_images(split: Split, pixels: int = PIXELS) -> np.ndarray:
    """uint8[n, H, W, C]: so many evenly spaced examples of a split as have at most `pixels` pixels,
    but at least one. A function of the data alone.
    """
    height, width, _ = split.images.shape
    number = max(1, min(len(split), pixels // (height * width)))
    rows = split.rows[np.linspace(0, len(split) - 1, number).round().astype(np.int64)]
    chosen = Split(split.images, rows, split.source)
    batches = eval_batches(chosen, min(number, 256))
    return np.concatenate([batch["image"][batch["mask"]] for batch in batches])
