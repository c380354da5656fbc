"""From a severity to the number it stands for."""

import jax
import jax.numpy as jnp

SEVERITIES = (1, 2, 3, 4, 5)


def at(severity: int | jax.Array, values: tuple[float, ...]) -> jax.Array:
    """The value of a severity, float32[], of five; ValueError for a number that is none."""
    if not isinstance(severity, jax.Array) and severity not in SEVERITIES:
        raise ValueError(f"severity={severity!r}: expected a whole number from 1 to 5")
    return jnp.asarray(values, jnp.float32)[severity - 1]


def shorter_side(image: jax.Array) -> int:
    """Of image[B, H, W, C], in pixels: what lengths are shares of."""
    return min(image.shape[1:3])
