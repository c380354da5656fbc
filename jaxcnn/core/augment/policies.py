"""RandAugment and TrivialAugment: operations drawn per image from a list of fourteen.

Nothing is switched per image. Whatever the geometric operations drew is one affine warp, with the
identity for images that drew none, and comes first; the operations on colour follow in the order
they were drawn, as one chain with parameters per image.
"""

import math
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxcnn.core.augment import draws
from jaxcnn.core.augment.color import blend, grey, mean_grey
from jaxcnn.core.augment.geometry import affine_matrix, chain, warp

OPERATIONS = (
    "identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness",
    "saturation", "contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize",
)  # fmt: skip


class Ranges(NamedTuple):
    """What an operation does at full strength.

    shear: factor; down, right: pixels; rotate: degrees; enhance: how far the factor of brightness,
    saturation, contrast and sharpness lies from 1; posterize: bits that are dropped of 8.
    """

    shear: float
    down: float
    right: float
    rotate: float
    enhance: float
    posterize: float


def randaugment(
    keys: jax.Array, image: jax.Array, num_ops: int = 2, magnitude: float = 9.0
) -> jax.Array:
    """Applies `num_ops` operations drawn with replacement, all of one strength.

    Cubuk et al. 2020, arXiv:1909.13719, with the ranges of AutoAugment (Cubuk et al. 2019,
    arXiv:1805.09501): shear 0.3, translation 150/331 of the size, 30 degrees, factors 0.1 to 1.9,
    posterize to 4 bits. All go both ways from doing nothing.

    magnitude: from 0 to 10, full strength, as in the paper's text; where it is counted to 30, as in
      torchvision, 9 is what 3 is here.
    Returns float32[B, H, W, C] in 0..255.
    """
    if not 1 <= num_ops <= 14:
        raise ValueError(f"num_ops={num_ops!r}: expected a whole number from 1 to 14")
    if not 0 <= magnitude <= 10:
        raise ValueError(f"magnitude={magnitude!r}: expected a number from 0 to 10")
    _, height, width, _ = image.shape
    share = 150 / 331
    ranges = Ranges(0.3, share * height, share * width, 30.0, 0.9, 4.0)
    which, sign = jnp.split(draws.uniform(keys, 2 * num_ops), 2)
    strength = jnp.full_like(which, magnitude / 10)
    return _apply(image, _index(which), strength, jnp.where(sign < 0.5, -1.0, 1.0), ranges)


def trivialaugment(keys: jax.Array, image: jax.Array, strength: float = 1.0) -> jax.Array:
    """Applies one operation, of a strength drawn anew for each image.

    Müller & Hutter 2021, arXiv:2103.10158, the wide ranges: shear 0.99, translation 32 pixels (or
    the whole of a smaller image), 135 degrees, factors 0.01 to 1.99, posterize to 2 bits.

    strength: the largest that is drawn, as a share of those ranges; 1 in the paper.
    Returns float32[B, H, W, C] in 0..255.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"strength={strength!r}: expected a share from 0 to 1")
    _, height, width, _ = image.shape
    ranges = Ranges(0.99, min(32.0, height), min(32.0, width), 135.0, 0.99, 6.0)
    which, level, sign = draws.uniform(keys, 3)[:, None]
    level = strength * jnp.floor(31 * level) / 30
    return _apply(image, _index(which), level, jnp.where(sign < 0.5, -1.0, 1.0), ranges)


def _index(unit: jax.Array) -> jax.Array:
    return jnp.floor(len(OPERATIONS) * unit).astype(jnp.int32)


def _apply(
    image: jax.Array, which: jax.Array, strength: jax.Array, sign: jax.Array, ranges: Ranges
) -> jax.Array:
    """which: int32[rounds, B], of OPERATIONS; strength, sign: float32[rounds, B]."""
    matrices = [_matrix(w, s, ranges) for w, s in zip(which, sign * strength, strict=True)]
    image = warp(image, reduce(chain, matrices))
    recolor = partial(_recolor, ranges=ranges)
    for one, level, direction in zip(which, strength, sign, strict=True):
        needed = one >= OPERATIONS.index("brightness")
        image = draws.where_any(needed, recolor, image, one, level, direction)
    return image


def _matrix(which: jax.Array, signed: jax.Array, ranges: Ranges) -> jax.Array:
    """The affine map of one round, float32[B, 2, 3]; the identity for operations on colour."""

    def where(name, full):
        return jnp.where(which == OPERATIONS.index(name), signed * full, 0)

    return affine_matrix(
        angle=where("rotate", math.radians(ranges.rotate)),
        down=where("translate_y", ranges.down),
        right=where("translate_x", ranges.right),
        shear_x=where("shear_x", ranges.shear),
        shear_y=where("shear_y", ranges.shear),
    )


def _recolor(
    image: jax.Array, which: jax.Array, strength: jax.Array, sign: jax.Array, ranges: Ranges
) -> jax.Array:
    """One round on image float32[B, H, W, C]; which, strength, sign: [B]."""
    which, strength, sign = draws.per_image(which), draws.per_image(strength), draws.per_image(sign)

    def drew(name):
        return which == OPERATIONS.index(name)

    # Four of the operations move an image towards or away from a reference (Haeberli & Voorhies
    # 1994, as Pillow's ImageEnhance); only the reference differs.
    luma = grey(image)
    reference = jnp.where(drew("saturation"), luma, 0.0)
    reference = jnp.where(drew("contrast"), mean_grey(image), reference)
    reference = jnp.where(drew("sharpness"), smooth(image), reference)
    enhances = drew("brightness") | drew("saturation") | drew("contrast") | drew("sharpness")
    enhanced = blend(
        image, reference, jnp.where(enhances, 1 + sign * strength * ranges.enhance, 1.0)
    )
    step = 2 ** jnp.round(ranges.posterize * strength)
    threshold = 256 * (1 - strength)
    return jnp.select(
        [drew("posterize"), drew("solarize"), drew("autocontrast"), drew("equalize")],
        [
            jnp.floor(image / step) * step,
            jnp.where(image >= threshold, 255 - image, image),
            autocontrast(image),
            equalize(image),
        ],
        enhanced,
    )


def smooth(image: jax.Array) -> jax.Array:
    """3x3 mean in which the centre counts five times, as Pillow's SMOOTH; edges stay as they are.

    image: float32[B, H, W, C].
    """
    batch, height, width, channels = image.shape
    if min(height, width) < 3:
        return image
    rows = image.reshape(batch, height, width * channels)
    vertical = rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]
    nine = vertical[..., : -2 * channels] + vertical[..., channels:-channels]
    nine = nine + vertical[..., 2 * channels :]
    inner = (nine.reshape(batch, height - 2, width - 2, channels) + 4 * image[:, 1:-1, 1:-1]) / 13
    rows, columns = jnp.arange(height), jnp.arange(width)
    inside = ((rows > 0) & (rows < height - 1))[:, None] & (columns > 0) & (columns < width - 1)
    inner = jnp.pad(inner, ((0, 0), (1, 1), (1, 1), (0, 0)))
    return jnp.where(inside[:, :, None], inner, image)


def autocontrast(image: jax.Array) -> jax.Array:
    """Stretches each channel of each image to 0..255; a channel of one value stays as it is."""
    batch, height, width, channels = image.shape
    rows = image.reshape(batch, height, -1)  # see `mean_grey`
    low, high = jax.lax.optimization_barrier((rows.min(1), rows.max(1)))
    low = low.reshape(batch, 1, width, channels).min(2, keepdims=True)
    high = high.reshape(batch, 1, width, channels).max(2, keepdims=True)
    stretched = (image - low) * (255 / jnp.where(high > low, high - low, 1))
    return jnp.where(high > low, jnp.minimum(stretched, 255), image)


def equalize(image: jax.Array, samples: int = 64) -> jax.Array:
    """Makes the values of each channel of each image equally frequent, by their histogram.

    image: float32[B, H, W, C] in 0..255. Pillow's rule without its rounding.
    samples: the histogram counts every pixel up to `samples` pixels a side, and of larger images a
      grid of at least as many: counting all would take longer than anything else here.
    """
    batch, height, width, channels = image.shape
    offset = 256 * jnp.arange(batch * channels).reshape(batch, 1, 1, channels)
    level = image.astype(jnp.int32) + offset
    sampled = level[:, :: max(1, height // samples), :: max(1, width // samples)]
    counts = jnp.zeros(batch * channels * 256, jnp.float32)
    counts = counts.at[sampled.ravel()].add(1, mode="promise_in_bounds").reshape(-1, 256)
    cumulative = jnp.cumsum(counts, -1)
    # The last value that occurs becomes 255, the first one 0.
    total = cumulative[:, -1:]
    last = jnp.where(cumulative < total, 0, counts).sum(-1, keepdims=True)
    spread = total - last
    table = 255 * (cumulative - counts) / jnp.maximum(spread, 1)
    table = jnp.where(spread > 0, jnp.minimum(table, 255), jnp.arange(256.0))
    return table.ravel().at[level].get(mode="promise_in_bounds")
