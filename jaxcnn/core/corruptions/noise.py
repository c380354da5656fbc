"""Noise of the sensor: Gaussian, shot and impulse."""

import jax
import jax.numpy as jnp

from jaxcnn.core.augment.color import random_normal, random_unit
from jaxcnn.core.corruptions.severity import at


def gaussian_noise(keys: jax.Array, image: jax.Array, severity: int | jax.Array) -> jax.Array:
    """Adds normal noise of a standard deviation of 4 to 12 % of the range."""
    std = 255 * at(severity, (0.04, 0.06, 0.08, 0.10, 0.12))
    return jnp.clip(image + std * random_normal(keys, image.shape[1:]), 0, 255)


def shot_noise(keys: jax.Array, image: jax.Array, severity: int | jax.Array) -> jax.Array:
    """Counts photons, 400 down to 40 for a white value.

    The Poisson distribution by the normal one of its mean and variance, which are as close as 255
    steps can show: exact counts are drawn in loops.
    """
    photons = at(severity, (400, 200, 100, 60, 40)) / 255
    image = image.astype(jnp.float32)
    noise = jnp.sqrt(image / photons) * random_normal(keys, image.shape[1:])
    return jnp.clip(image + noise, 0, 255)


def impulse_noise(keys: jax.Array, image: jax.Array, severity: int | jax.Array) -> jax.Array:
    """Makes 1 to 9 % of the values black or white."""
    share = at(severity, (0.01, 0.02, 0.04, 0.06, 0.09))
    unit = random_unit(keys, image.shape[1:])
    image = jnp.where(unit < share / 2, 0, image.astype(jnp.float32))
    return jnp.where(unit > 1 - share / 2, 255, image)
