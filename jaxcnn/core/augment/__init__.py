"""Augmentation on the device: pure, batched, one key an example.

An operation is `op(keys, image, ...) -> image` with keys[B] and image[B, H, W, C] in 0..255;
`AUGMENTATIONS` names those a config can use, and `compose` chains them.
"""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

Operation = Callable[[jax.Array, jax.Array], jax.Array]


def to_float(image: jax.Array) -> jax.Array:
    """uint8 or float[...] in 0..255 -> float32[...] in 0..1."""
    return image.astype(jnp.float32) / 255


def normalize(image: jax.Array, *, mean: Sequence[float], std: Sequence[float]) -> jax.Array:
    """image[..., C] in 0..255 -> float32[..., C], (image / 255 - mean) / std.

    mean, std: C numbers each, in units of the full range 0..1.
    """
    # One multiply-add instead of two divisions; constants are rounded once, from float64.
    scale = 1 / (255 * np.asarray(std, np.float64))
    shift = -np.asarray(mean, np.float64) / np.asarray(std, np.float64)
    return image.astype(jnp.float32) * scale.astype(np.float32) + shift.astype(np.float32)


def random_crop(keys: jax.Array, image: jax.Array, padding: int) -> jax.Array:
    """Shifts each image by up to `padding` pixels along both axes; what enters is black.

    The same as padding with zeros and cropping back at a random place (Krizhevsky 2009's CIFAR
    recipe, as in He et al. 2016, arXiv:1512.03385).
    """
    if padding < 0:
        raise ValueError(f"padding={padding!r}: expected a number of pixels from 0")
    _, height, width, channels = image.shape
    pad = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = jnp.pad(image, pad)

    def crop(key, padded_image):
        top, left = jax.random.randint(key, (2,), 0, 2 * padding + 1)
        return jax.lax.dynamic_slice(padded_image, (top, left, 0), (height, width, channels))

    return jax.vmap(crop)(keys, padded)


def random_flip(keys: jax.Array, image: jax.Array, probability: float = 0.5) -> jax.Array:
    """Mirrors each image left-right with the given probability."""
    if not 0 <= probability <= 1:
        raise ValueError(f"probability={probability!r}: expected a share from 0 to 1")
    flip = jax.vmap(partial(jax.random.bernoulli, p=probability))(keys)
    return jnp.where(flip[:, None, None, None], image[:, :, ::-1], image)


AUGMENTATIONS: dict[str, Callable[..., jax.Array]] = {
    "crop": random_crop,
    "flip": random_flip,
}


def compose(operations: Sequence[Operation]) -> Operation:
    """One operation that applies `operations` in order, each with keys of its own."""

    def augment(keys: jax.Array, image: jax.Array) -> jax.Array:
        for position, operation in enumerate(operations):
            operation_keys = jax.vmap(partial(jax.random.fold_in, data=position))(keys)
            image = operation(operation_keys, image)
        return image

    return augment
