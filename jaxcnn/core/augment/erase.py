"""Operations that paint over a rectangle of each image."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.core.augment import draws


def rectangle(
    top: jax.Array,
    bottom: jax.Array,
    left: jax.Array,
    right: jax.Array,
    height: int,
    width: int,
) -> jax.Array:
    """bool[B, H, W, 1]: True from row top to before bottom and column left to before right, [B]."""
    rows, columns = jnp.arange(height), jnp.arange(width)
    inside_rows = (rows >= top[:, None]) & (rows < bottom[:, None])
    inside_columns = (columns >= left[:, None]) & (columns < right[:, None])
    return (inside_rows[:, :, None] & inside_columns[:, None, :])[..., None]


def cutout(
    keys: jax.Array,
    image: jax.Array,
    size: int,
    fill: float = 128.0,
    probability: float = 1.0,
) -> jax.Array:
    """Paints a square of `size` pixels over each image, centred on any of its pixels.

    DeVries & Taylor 2017, arXiv:1708.04552: 16 pixels for CIFAR-10, 8 for CIFAR-100. Near an edge
    part of the square lies outside.

    fill: in 0..255; mid-grey, about where normalisation puts 0.
    """
    if size <= 0:
        raise ValueError(f"size={size!r}: expected a number of pixels from 1")
    _, height, width, _ = image.shape
    down, right, chance = draws.uniform(keys, 3)
    top = jnp.floor(down * height) - size // 2
    left = jnp.floor(right * width) - size // 2
    square = rectangle(top, top + size, left, left + size, height, width)
    drawn = draws.per_image(draws.applies(chance, probability))
    return jnp.where(square & drawn, jnp.asarray(fill, image.dtype), image)


def random_erasing(
    keys: jax.Array,
    image: jax.Array,
    probability: float = 0.5,
    scale: draws.Range = (0.02, 0.4),
    ratio: draws.Range = (0.3, 1 / 0.3),
    fill: float | None = None,
) -> jax.Array:
    """Paints a rectangle, which lies inside as a whole, over images with the given probability.

    Zhong et al. 2017, arXiv:1708.04896. A side longer than the image is cut to the image and the
    other one lengthened, to keep the area, instead of drawing again.

    scale: the rectangle's share of the area; ratio: its height / width, drawn so that 1 / ratio is
      as likely; fill: in 0..255, or None for random values, the best in the paper.
    """
    draws.check_range("scale", scale, highest=1)
    draws.check_range("ratio", ratio)
    _, height, width, _ = image.shape
    chance, area, aspect, down, right = draws.uniform(keys, 5)
    area = draws.between(area, *scale) * (height * width)
    aspect = jnp.exp(draws.between(aspect, float(np.log(ratio[0])), float(np.log(ratio[1]))))
    rows = jnp.clip(jnp.sqrt(area * aspect), area / width, height)
    columns = jnp.round(area / rows)
    rows = jnp.round(rows)
    top = jnp.floor(down * (height - rows + 1))
    left = jnp.floor(right * (width - columns + 1))
    box = rectangle(top, top + rows, left, left + columns, height, width)
    if fill is None:
        keys = draws.fresh(keys, 1)
        paint = draws.random_integers(keys, image.shape[1:], jnp.uint8).astype(image.dtype)
    else:
        paint = jnp.asarray(fill, image.dtype)
    drawn = draws.per_image(draws.applies(chance, probability))
    return jnp.where(box & drawn, paint, image)
