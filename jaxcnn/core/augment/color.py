"""Operations on the values of pixels: brightness, contrast, colour, noise, blur.

All return float32 in 0..255 without rounding. An image of one channel has no colour: `saturation`,
`hue` and `greyscale` do not change it, so that one config serves both kinds.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp

from jaxcnn.core.augment import draws


def grey(image: jax.Array) -> jax.Array:
    """The luma of RGB images (ITU-R BT.601), or grey images themselves: float32[B, H, W, 1]."""
    image = image.astype(jnp.float32)
    if image.shape[-1] == 1:
        return image
    return 0.299 * image[..., :1] + 0.587 * image[..., 1:2] + 0.114 * image[..., 2:]


def mean_grey(image: jax.Array) -> jax.Array:
    """The mean luma of each image, float32[B, 1, 1, 1]."""
    batch, height, width, channels = image.shape
    # Columns first, all channels at once: the plain mean is 10 to 40 times as slow on a CPU.
    columns = image.reshape(batch, height, -1).astype(jnp.float32).mean(1)
    columns = jax.lax.optimization_barrier(columns)  # or XLA makes one mean of the two again
    return grey(columns.reshape(batch, 1, width, channels).mean(2, keepdims=True))


def blend(image: jax.Array, reference: jax.Array | float, factor: jax.Array) -> jax.Array:
    """Moves images towards a reference (factor 0) or away from it (above 1); float32 in 0..255.

    factor: [B, 1, 1, 1]; 1 changes nothing.
    """
    image = image.astype(jnp.float32)
    return jnp.clip(image + (factor - 1) * (image - reference), 0, 255)


def random_brightness(
    keys: jax.Array, image: jax.Array, amount: float = 0.4, probability: float = 1.0
) -> jax.Array:
    """Multiplies each image by a factor from 1 - amount to 1 + amount; the lowest factor is 0."""
    return blend(image, 0.0, _factor(keys, amount, probability))


def random_contrast(
    keys: jax.Array, image: jax.Array, amount: float = 0.4, probability: float = 1.0
) -> jax.Array:
    """Blends each image with its mean grey, by a factor from 1 - amount to 1 + amount."""
    return blend(image, mean_grey(image), _factor(keys, amount, probability))


def random_saturation(
    keys: jax.Array, image: jax.Array, amount: float = 0.4, probability: float = 1.0
) -> jax.Array:
    """Blends each image with its grey version, by a factor from 1 - amount to 1 + amount."""
    factor = _factor(keys, amount, probability)
    return image if image.shape[-1] == 1 else blend(image, grey(image), factor)


def random_greyscale(keys: jax.Array, image: jax.Array, probability: float = 0.1) -> jax.Array:
    """Replaces images by their luma, on all channels, with the given probability."""
    (chance,) = draws.uniform(keys, 1)
    drawn = draws.applies(chance, probability)
    if image.shape[-1] == 1:
        return image
    return jnp.where(draws.per_image(drawn), grey(image), image.astype(jnp.float32))


def random_hue(
    keys: jax.Array, image: jax.Array, amount: float = 0.1, probability: float = 1.0
) -> jax.Array:
    """Turns the hue of each image, in HSV, by -amount to amount of the colour circle.

    amount: at most 0.5, half a turn.
    """
    if not 0 <= amount <= 0.5:
        raise ValueError(f"amount={amount!r}: expected a share of the circle from 0 to 0.5")
    turn, chance = draws.uniform(keys, 2)
    drawn = draws.applies(chance, probability)
    if image.shape[-1] == 1:
        return image
    return shift_hue(image, jnp.where(drawn, draws.between(turn, -amount, amount), 0))


def shift_hue(image: jax.Array, turn: jax.Array) -> jax.Array:
    """RGB images with their HSV hue turned by turn[B], in circles; float32."""
    image = image.astype(jnp.float32)
    red, green, blue = image[..., 0], image[..., 1], image[..., 2]
    value = jnp.maximum(jnp.maximum(red, green), blue)
    chroma = value - jnp.minimum(jnp.minimum(red, green), blue)
    inverse = 1 / jnp.where(chroma > 0, chroma, 1)
    hue = jnp.where(
        value == red,
        (green - blue) * inverse,
        jnp.where(value == green, 2 + (blue - red) * inverse, 4 + (red - green) * inverse),
    )
    # A channel is full within one sixth of the circle of its own hue and empty from two sixths on.
    distance = (hue + 6 * turn[:, None, None])[..., None] - jnp.array([0.0, 2.0, 4.0], jnp.float32)
    distance = jnp.abs(distance - 6 * jnp.round(distance / 6))
    value, chroma = value[..., None], chroma[..., None]
    turned = value - chroma * jnp.clip(distance - 1, 0, 1)
    return jnp.where(draws.per_image(turn) == 0, image, turned)


def random_noise(
    keys: jax.Array, image: jax.Array, std: float = 0.05, probability: float = 1.0
) -> jax.Array:
    """Adds Gaussian noise, independent for each value.

    std: its standard deviation as a share of the full range, 0.05 being 12.75 of 255.
    """
    draws.check_amount("std", std)
    (chance,) = draws.uniform(keys, 1)
    normal = draws.random_normal(draws.fresh(keys, 1), image.shape[1:])
    scale = jnp.where(draws.applies(chance, probability), 255 * std, 0)
    return jnp.clip(image + draws.per_image(scale) * normal, 0, 255)


def random_blur(
    keys: jax.Array, image: jax.Array, sigma: float = 2.0, probability: float = 0.5
) -> jax.Array:
    """Blurs images with a Gaussian whose sigma is drawn from 0.1 to `sigma` pixels.

    As in SimCLR (Chen et al. 2020, arXiv:2002.05709), whose sigma is up to 2 at 224 pixels. The
    Gaussian ends at 3 `sigma`; beyond its edges the image is mirrored.
    """
    if not 0.1 <= sigma <= 16:
        raise ValueError(f"sigma={sigma!r}: expected a number of pixels from 0.1 to 16")
    width, chance = draws.uniform(keys, 2)
    width, drawn = draws.between(width, 0.1, sigma), draws.applies(chance, probability)

    def weights(size):
        """Weights of a pixel's neighbours along an axis, float32[B, 2r + 1], which add to 1."""
        radius = min(math.ceil(3 * sigma), size - 1)
        offsets = jnp.arange(-radius, radius + 1)
        gaussian = jnp.exp(-0.5 * (offsets / width[:, None]) ** 2)
        gaussian /= gaussian.sum(1, keepdims=True)
        return jnp.where(drawn[:, None], gaussian, offsets == 0)

    _, height, columns, _ = image.shape
    image = draws.where_any(drawn, partial(convolve, axis=1), image, weights(height))
    return draws.where_any(drawn, partial(convolve, axis=2), image, weights(columns))


def convolve(image: jax.Array, weights: jax.Array, axis: int) -> jax.Array:
    """Images[B, H, W, C] times weights[B, 2r + 1] along an axis, mirrored at the edges; float32."""
    image = image.astype(jnp.float32)
    batch, height, _, channels = image.shape
    size, taps = image.shape[axis], weights.shape[1]
    pad = [(0, 0)] * 4
    pad[axis] = (taps // 2, taps // 2)
    # Columns and channels as one axis: 1.7 times as fast on a CPU, whose loops then run long.
    rows = jnp.pad(image, pad, mode="reflect")
    rows = rows.reshape(batch, rows.shape[1], -1)
    step = 1 if axis == 1 else channels
    length = size if axis == 1 else size * channels
    total = jnp.zeros((), jnp.float32)
    for k in range(taps):
        shifted = jax.lax.slice_in_dim(rows, k * step, k * step + length, axis=axis)
        total = total + weights[:, k, None, None] * shifted
    return total.reshape(batch, height, -1, channels)


def _factor(keys: jax.Array, amount: float, probability: float) -> jax.Array:
    """[B, 1, 1, 1]: from 1 - amount to 1 + amount, or 1 where the operation is not applied."""
    draws.check_amount("amount", amount)
    unit, chance = draws.uniform(keys, 2)
    factor = draws.between(unit, max(0.0, 1 - amount), 1 + amount)
    return draws.per_image(jnp.where(draws.applies(chance, probability), factor, 1))
