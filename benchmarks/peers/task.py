"""What every peer is given: a network by name, its first weights, data, and how to train.

A peer is a module with `build(task)`, which returns three functions:

    check() -> {"parameters", "logits", "losses"}: of the weights given; see `train_step.py`;
      and "platform", "cpu" or "gpu"
    step(n): n updates on one batch that is on the device already
    loop(): `task.steps` updates as its users write them: data, augmentation, step and metrics

Each returns when the device has done the work.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np

LEARNING_RATE = 0.05
MOMENTUM = 0.9  # of Nesterov
WEIGHT_DECAY = 5e-4  # of kernels, added to the gradient
PADDING = 4  # pixels on each side, before the random crop

WIDTHS = {"cnn": (48, 96, 192), "resnet20_cifar": (16, 32, 64)}
NUM_CLASSES = 10
IMAGES = 50_000
THREADS = 2  # of each in inference


class Task(NamedTuple):
    """network: a key of WIDTHS. dtype: "float32" or "bfloat16", of the computation. folder: with
    image.npy, uint8[N, 32, 32, 3], and label.npy, int32[N]. steps: of one `loop()`.
    """

    network: str
    batch_size: int
    dtype: str
    folder: Path
    steps: int

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        return np.load(self.folder / "image.npy"), np.load(self.folder / "label.npy")

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """The first images and labels."""
        image, label = self.data()
        return image[: self.batch_size].copy(), label[: self.batch_size].copy()


def write_data(folder: Path, images: int = IMAGES) -> None:
    random = np.random.default_rng(0)
    np.save(folder / "image.npy", random.integers(0, 256, (images, 32, 32, 3), np.uint8))
    np.save(folder / "label.npy", random.integers(0, NUM_CLASSES, images).astype(np.int32))


def weights(network: str) -> list[np.ndarray]:
    """The parameters from the image to the logits, in Flax's layout: kernels HWIO, scales, biases.

    cnn: in each stage convolution, 2x2 maxima, norm, ReLU, convolution, norm, ReLU; then the mean
      over all pixels and a dense layer.
    resnet20_cifar: He et al. 2016 (arXiv:1512.03385), section 4.2, with shortcuts of option A.
    """
    random = np.random.default_rng(1)
    found: list[np.ndarray] = []

    def normal(*shape: int) -> np.ndarray:
        fan_in = int(np.prod(shape[:-1]))
        return (random.standard_normal(shape) * (2 / fan_in) ** 0.5).astype(np.float32)

    channels = 3
    for width in convolutions(network):
        found += [normal(3, 3, channels, width), np.ones(width, "f4"), np.zeros(width, "f4")]
        channels = width
    return [*found, normal(channels, NUM_CLASSES), np.zeros(NUM_CLASSES, "f4")]


def convolutions(network: str) -> list[int]:
    """The output channels of each convolution."""
    widths = WIDTHS[network]
    if network == "cnn":
        return [width for width in widths for _ in range(2)]
    return [widths[0], *(width for width in widths for _ in range(6))]
