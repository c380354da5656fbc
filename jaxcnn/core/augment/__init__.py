"""Augmentation on the device: pure, batched, one key an example.

A batch operation is `operation(keys, batch, ...) -> batch`, with keys[B] and the batch of
`jaxcnn.core.step`. Most are image operations, `op(keys, image, ...) -> image` with
image[B, H, W, C] in 0..255, lifted by `on_image`. `AUGMENTATIONS` names those a config can use;
`compose` chains them.

Operations that only move or replace pixels keep uint8; all others return float32 in 0..255, without
rounding. Each example's result depends on its own key and pixels alone (`mixup` and `cutmix`: also
on its neighbour's), so that neither the batch nor the number of devices matters.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.core.augment import color, draws, erase, geometry, mix, policies

Batch = dict[str, jax.Array]
Operation = Callable[[jax.Array, Batch], Batch]


def on_image(op: Callable[..., jax.Array]) -> Callable[..., Batch]:
    """The batch operation that changes a batch's "image" by `op(keys, image, ...) -> image`.

    It takes the same further arguments, and `inspect.signature` shows them.

    >>> import jax, jax.numpy as jnp
    >>> from jaxcnn import on_image
    >>> invert = on_image(lambda keys, image: 255 - image)
    >>> batch = {"image": jnp.zeros((2, 4, 4, 1), jnp.uint8), "label": jnp.arange(2)}
    >>> int(invert(jax.random.split(jax.random.key(0), 2), batch)["image"].max())
    255
    """

    @functools.wraps(op)
    def operation(keys: jax.Array, batch: Batch, *args: Any, **kwargs: Any) -> Batch:
        return {**batch, "image": op(keys, batch["image"], *args, **kwargs)}

    return operation


AUGMENTATIONS: dict[str, Callable[..., Batch]] = {
    "crop": on_image(geometry.random_crop),
    "resized_crop": on_image(geometry.random_resized_crop),
    "flip": on_image(geometry.random_flip),
    "vertical_flip": on_image(geometry.random_vertical_flip),
    "alternating_flip": geometry.alternating_flip,
    "translate": on_image(geometry.random_translation),
    "rotation": on_image(geometry.random_rotation),
    "affine": on_image(geometry.random_affine),
    "brightness": on_image(color.random_brightness),
    "contrast": on_image(color.random_contrast),
    "saturation": on_image(color.random_saturation),
    "hue": on_image(color.random_hue),
    "greyscale": on_image(color.random_greyscale),
    "noise": on_image(color.random_noise),
    "blur": on_image(color.random_blur),
    "cutout": on_image(erase.cutout),
    "erasing": on_image(erase.random_erasing),
    "randaugment": on_image(policies.randaugment),
    "trivialaugment": on_image(policies.trivialaugment),
    "mixup": mix.mixup,
    "cutmix": mix.cutmix,
}


def compose(operations: Sequence[Operation]) -> Operation:
    """One batch operation that applies `operations` in order, each with keys of its own.

    >>> import jax, jax.numpy as jnp
    >>> from jaxcnn import AUGMENTATIONS, compose
    >>> augment = compose([AUGMENTATIONS["flip"], AUGMENTATIONS["noise"]])
    >>> batch = {"image": jnp.zeros((2, 4, 4, 1), jnp.uint8), "label": jnp.arange(2)}
    >>> augment(jax.random.split(jax.random.key(0), 2), batch)["image"].shape
    (2, 4, 4, 1)
    """

    def augment(keys: jax.Array, batch: Batch) -> Batch:
        for position, operation in enumerate(operations):
            batch = operation(draws.fresh(keys, position), batch)
        return batch

    return augment


def to_float(image: jax.Array) -> jax.Array:
    """uint8 or float[...] in 0..255 -> float32[...] in 0..1."""
    return image.astype(jnp.float32) / 255


def normalize(image: jax.Array, *, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """image[..., C] in 0..255 -> float32[..., C], (image / 255 - mean) / std.

    mean, std: C numbers each, in units of the full range 0..1.

    >>> import jax.numpy as jnp
    >>> from jaxcnn import normalize
    >>> normalize(jnp.array([[[0, 255]]]), mean=(0.5, 0.5), std=(0.25, 0.25)).tolist()
    [[[-2.0, 2.0]]]
    """
    # One multiply-add instead of two divisions; constants are rounded once, from float64.
    scale = 1 / (255 * np.asarray(std, np.float64))
    shift = -np.asarray(mean, np.float64) / np.asarray(std, np.float64)
    return image.astype(jnp.float32) * scale.astype(np.float32) + shift.astype(np.float32)
