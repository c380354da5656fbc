"""Weather, drawn: snow, frost, fog, and too much light."""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.core.augment.color import grey, random_normal
from jaxcnn.core.augment.draws import between, fresh, uniform
from jaxcnn.core.corruptions.blur import filtered, streak
from jaxcnn.core.corruptions.severity import at, shorter_side


def snow(keys: jax.Array, image: jax.Array, severity: int | jax.Array) -> jax.Array:
    """Pales the image, and lets ever more flakes fall through it, slanted alike in one image.

    Flakes are peaks of a noise whose cells are a 32nd of the shorter side, at least a pixel.
    """
    batch, height, width, _ = image.shape
    side = shorter_side(image)
    cell = max(1, side // 32)
    grid = (-(-height // cell), -(-width // cell), 1)
    noise = random_normal(keys, grid)
    noise = jax.image.resize(noise, (batch, height, width, 1), "linear")
    flakes = jnp.clip(noise - at(severity, (1.6, 1.4, 1.2, 1.0, 0.8)), 0, 1)
    angle = between(uniform(fresh(keys, 1), 1)[0], math.radians(60), math.radians(120))
    longest = 0.08 * side
    flakes = filtered(255 * flakes, streak(jnp.float32(longest), angle, longest))
    image = image.astype(jnp.float32)
    pale = jnp.maximum(image, 0.5 * grey(image) + 100)
    image = image + at(severity, (0.15, 0.25, 0.35, 0.45, 0.55)) * (pale - image)
    return jnp.clip(image + 1.5 * flakes, 0, 255)


def frost(keys: jax.Array, image: jax.Array, severity: int | jax.Array) -> jax.Array:
    """Covers the image with ice: bright veins of a fractal noise, denser towards the edges."""
    _, height, width, channels = image.shape
    image = image.astype(jnp.float32)
    veins = 1 - jnp.abs(2 * fractal(keys, height, width, 0.6) - 1)
    y, x = (jnp.abs(jnp.linspace(-1, 1, size)) for size in (height, width))
    edge = jnp.maximum(y[:, None], x)[None, :, :, None]
    ice = jnp.clip(veins**2 * (0.5 + 0.7 * edge), 0, 1)
    colour = jnp.array([215.0, 232.0, 245.0]) if channels == 3 else jnp.array([230.0])
    share = at(severity, (0.3, 0.45, 0.6, 0.75, 0.9)) * ice
    return image + share * (colour - image)


def fog(keys: jax.Array, image: jax.Array, severity: int | jax.Array) -> jax.Array:
    """Hides the image behind a light grey of uneven thickness, of 25 to 85 % where it is thickest.

    The thickness is a fractal noise (the paper's is made by the diamond-square algorithm).
    """
    _, height, width, _ = image.shape
    image = image.astype(jnp.float32)
    thickness = 0.4 + 0.6 * fractal(keys, height, width, 0.45)
    share = at(severity, (0.25, 0.4, 0.55, 0.7, 0.85)) * thickness
    return image + share * (220 - image)


def brightness(keys: jax.Array, image: jax.Array, severity: int | jax.Array) -> jax.Array:
    """Raises each pixel's HSV value by 5 to 30 % of the range; hue and saturation stay."""
    del keys  # nothing is drawn
    image = image.astype(jnp.float32)
    value = image.max(-1, keepdims=True)
    raised = jnp.minimum(value + 255 * at(severity, (0.05, 0.10, 0.15, 0.20, 0.30)), 255)
    bright = jnp.where(value > 0, image * (raised / jnp.maximum(value, 1e-6)), raised)
    return jnp.minimum(bright, 255)


def fractal(keys: jax.Array, height: int, width: int, roughness: float) -> jax.Array:
    """Noise with structure of every size, from 0 to 1 in each image: float32[B, H, W, 1].

    Grids of 2, 4, 8, ... cells a side, enlarged smoothly; each weighs `roughness` times the one
    before.
    """
    octaves = range(1, max(2, math.ceil(math.log2(max(height, width))) + 1))
    grids = [(min(2**n, height) + 1, min(2**n, width) + 1) for n in octaves]
    ends = np.cumsum([math.prod(grid) for grid in grids])
    values = jnp.split(random_normal(keys, (int(ends[-1]),)), ends[:-1], axis=1)
    total = jnp.zeros(())
    for octave, (grid, value) in enumerate(zip(grids, values, strict=True)):
        noise = jax.image.resize(value.reshape(-1, *grid), (len(keys), height, width), "cubic")
        total = total + roughness**octave * noise
    low, high = total.min((1, 2), keepdims=True), total.max((1, 2), keepdims=True)
    return ((total - low) / jnp.maximum(high - low, 1e-6))[..., None]
