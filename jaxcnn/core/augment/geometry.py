"""Operations that move pixels along the axes: crops, flips, shifts."""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.core.augment.draws import (
    Range,
    between,
    check_range,
    check_share,
    per_image,
    uniform,
    where_any,
)

# How NumPy calls what stands beyond an image.
_BORDERS = {"black": "constant", "reflect": "reflect"}


def random_crop(
    keys: jax.Array, image: jax.Array, padding: int, border: str = "black"
) -> jax.Array:
    """Shifts each image by up to `padding` pixels along both axes.

    The same as padding with zeros and cropping back at a random place (Krizhevsky 2009's CIFAR
    recipe, as in He et al. 2016, arXiv:1512.03385).

    border: "black", or "reflect": what enters is the image, mirrored at its outermost pixels.
    """
    _, height, width, channels = image.shape
    if border not in _BORDERS:
        raise ValueError(f"border={border!r}: expected one of {', '.join(_BORDERS)}")
    if padding < 0:
        raise ValueError(f"padding={padding!r}: expected a number of pixels from 0")
    if padding >= min(height, width):
        raise ValueError(
            f"padding={padding!r}: images of {height}x{width} pixels would leave the image; "
            f"expected at most {min(height, width) - 1}"
        )
    pad = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = jnp.pad(image, pad, _BORDERS[border])

    def crop(key, padded_image):
        top, left = jax.random.randint(key, (2,), 0, 2 * padding + 1)
        return jax.lax.dynamic_slice(padded_image, (top, left, 0), (height, width, channels))

    return jax.vmap(crop)(keys, padded)


def random_translation(
    keys: jax.Array,
    image: jax.Array,
    share: float = 0.125,
    fill: float = 0.0,
    probability: float = 1.0,
) -> jax.Array:
    """Shifts each image by whole pixels, up to `share` of its height and of its width.

    fill: what enters, in 0..255 like the image; black by default.
    """
    check_share("share", share)
    check_share("probability", probability)
    _, height, width, _ = image.shape
    down, right, chance = uniform(keys, 3)
    drawn = chance < probability

    def source(unit, size):
        """Which row or column each one of the output comes from, int32[B, size]."""
        limit = int(share * size)
        steps = jnp.floor(between(unit, -limit, limit + 1)).astype(jnp.int32)
        return jnp.arange(size) - jnp.where(drawn, steps, 0)[:, None]

    def moved(image, rows, columns):
        inside = ((rows >= 0) & (rows < height))[:, :, None]
        inside = inside & ((columns >= 0) & (columns < width))[:, None, :]
        image = _take(image, jnp.clip(rows, 0, height - 1), axis=1)
        image = _take(image, jnp.clip(columns, 0, width - 1), axis=2)
        return jnp.where(inside[..., None], image, jnp.asarray(fill, image.dtype))

    return where_any(drawn, moved, image, source(down, height), source(right, width))


def random_resized_crop(
    keys: jax.Array,
    image: jax.Array,
    scale: Range = (0.08, 1.0),
    ratio: Range = (3 / 4, 4 / 3),
) -> jax.Array:
    """Cuts a random rectangle and enlarges it to the image's size, bilinearly.

    The crop of Szegedy et al. 2015, arXiv:1409.4842. Its corners need not lie on pixels, and a
    rectangle that would not fit is narrowed instead of drawn again.

    scale: the rectangle's share of the area; ratio: its width / height in pixels, drawn so that
      1 / ratio is as likely.
    Returns float32[B, H, W, C].
    """
    check_range("scale", scale, highest=1)
    check_range("ratio", ratio)
    _, height, width, _ = image.shape
    area, aspect, down, right = uniform(keys, 4)
    area = between(area, *scale) * (height * width)
    aspect = jnp.exp(between(aspect, float(np.log(ratio[0])), float(np.log(ratio[1]))))
    rows = jnp.minimum(jnp.sqrt(area / aspect), height)
    columns = jnp.minimum(jnp.sqrt(area * aspect), width)

    def positions(start, length, size):
        """Where the output's pixel centres lie in the input, float32[B, size]."""
        centres = (jnp.arange(size, dtype=jnp.float32) + 0.5) / size
        return start[:, None] + centres * length[:, None] - 0.5

    top, left = down * (height - rows), right * (width - columns)
    vertical, horizontal = positions(top, rows, height), positions(left, columns, width)
    needed = (rows < height) | (columns < width)
    return where_any(needed, _resample, image, vertical, horizontal)


def random_flip(keys: jax.Array, image: jax.Array, probability: float = 0.5) -> jax.Array:
    """Mirrors each image left-right with the given probability."""
    return jnp.where(_choose(keys, probability), image[:, :, ::-1], image)


def random_vertical_flip(keys: jax.Array, image: jax.Array, probability: float = 0.5) -> jax.Array:
    """Mirrors each image upside down with the given probability."""
    return jnp.where(_choose(keys, probability), image[:, ::-1], image)


def alternating_flip(keys: jax.Array, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Mirrors each image left-right in every other epoch; in its first epoch at random.

    Two successive epochs so show both views of an image, where independent flips show one of them
    twice for half of the images (Jordan 2024, arXiv:2404.00498, section 3.6).

    batch: with the step's "key" (the example's own, the same in every epoch) and "epoch".
    """
    del keys  # they change with the step
    first = jax.vmap(lambda key: jax.random.bits(key, (), jnp.uint32) & 1)(batch["key"])
    flip = (first + batch["epoch"].astype(jnp.uint32)) % 2 == 1
    image = batch["image"]
    return {**batch, "image": jnp.where(per_image(flip), image[:, :, ::-1], image)}


def _choose(keys: jax.Array, probability: float) -> jax.Array:
    check_share("probability", probability)
    return per_image(jax.vmap(partial(jax.random.bernoulli, p=probability))(keys))


def _take(image: jax.Array, index: jax.Array, axis: int) -> jax.Array:
    """Rows (axis=1) or columns (axis=2) of each image, by its own index int32[B, n]."""
    at = (lambda one, i: one.at[i]) if axis == 1 else (lambda one, i: one.at[:, i])
    # The caller keeps indices in bounds.
    return jax.vmap(lambda one, i: at(one, i).get(mode="promise_in_bounds"))(image, index)


def _resample(image: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Bilinear samples of each image at rows[B, H] times columns[B, W]; float32[B, H, W, C]."""
    # Gathers along one axis after the other: at 224 pixels 5 times as fast on a CPU as products
    # with interpolation matrices.
    return _interpolate(_interpolate(image, rows, axis=1), columns, axis=2)


def _interpolate(image: jax.Array, position: jax.Array, axis: int) -> jax.Array:
    """Linear interpolation along one axis at position[B, n], held at the edges; float32."""
    size = image.shape[axis]
    position = jnp.clip(position, 0, size - 1)
    lower = position.astype(jnp.int32)
    share = (position - lower).reshape((-1, position.shape[1], 1, 1))
    share = share if axis == 1 else share.swapaxes(1, 2)
    below = _take(image, lower, axis)
    above = _take(image, jnp.minimum(lower + 1, size - 1), axis)
    return jnp.clip((1 - share) * below + share * above, 0, 255)
