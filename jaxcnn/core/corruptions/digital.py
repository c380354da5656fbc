"""What processing does: low contrast, distortion, large pixels, JPEG's losses."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.core.augment.color import blend, grey, mean_grey, random_unit
from jaxcnn.core.corruptions.blur import along_both, moved
from jaxcnn.core.corruptions.severity import at, shorter_side

# The tables of quality 50 of ITU-T T.81 (1992), annex K: luminance, chrominance.
_LUMINANCE = np.array([
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
])  # fmt: skip
_CHROMINANCE = np.full((8, 8), 99)
_CHROMINANCE[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]


def contrast(keys: jax.Array, image: jax.Array, severity: int | jax.Array) -> jax.Array:
    """Moves each image towards its mean grey, to 75 to 15 % of its contrast."""
    del keys  # nothing is drawn
    return blend(image, mean_grey(image), at(severity, (0.75, 0.6, 0.45, 0.3, 0.15)))


def elastic_transform(keys: jax.Array, image: jax.Array, severity: int | jax.Array) -> jax.Array:
    """Stretches parts of the image, by at most 1.5 to 5.5 % of the shorter side.

    A smooth field of shifts (Simard et al. 2003): a grid of 6x6 random ones, enlarged.
    """
    batch, height, width, _ = image.shape
    grid = 2 * random_unit(keys, (2, 6, 6)) - 1
    shift = jax.image.resize(grid, (batch, 2, height, width), "cubic")
    reach = at(severity, (0.015, 0.022, 0.03, 0.04, 0.055)) * shorter_side(image)
    return moved(image, reach * jnp.clip(shift, -1, 1))


def pixelate(keys: jax.Array, image: jax.Array, severity: int | jax.Array) -> jax.Array:
    """Averages over blocks, of which there are 85 to 35 % as many along a side as pixels."""
    del keys  # nothing is drawn
    share = at(severity, (0.85, 0.7, 0.55, 0.45, 0.35))

    def means(size):
        """float32[size, size]: from the pixels of a row to the mean of each one's block."""
        block = jnp.floor(jnp.arange(size) * share)
        same = (block[:, None] == block).astype(jnp.float32)
        return same / same.sum(1, keepdims=True)

    _, height, width, _ = image.shape
    return jnp.clip(along_both(image, means(height), means(width)), 0, 255)


def jpeg_compression(keys: jax.Array, image: jax.Array, severity: int | jax.Array) -> jax.Array:
    """The losses of JPEG of quality 80 to 15, approximately: what it does before it counts bits.

    Blocks of 8x8 pixels, their cosine transform quantised by the tables of ITU-T T.81; luminance
    and colour both at full resolution, and no rounding of pixels.
    """
    del keys  # nothing is drawn
    quality = at(severity, (80, 60, 40, 25, 15))
    percent = jnp.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    _, height, width, channels = image.shape
    basic = np.stack([_LUMINANCE] + [_CHROMINANCE] * (channels - 1), -1)
    tables = jnp.clip(jnp.floor((basic * percent + 50) / 100), 1, 255)[:, None]  # [8, 1, 8, C]

    planes = _to_planes(image.astype(jnp.float32)) - 128
    pad = ((0, 0), (0, -height % 8), (0, -width % 8), (0, 0))
    planes = jnp.pad(planes, pad, mode="edge")
    shape = planes.shape
    blocks = planes.reshape(shape[0], shape[1] // 8, 8, shape[2] // 8, 8, channels)
    cosines = _cosines()
    frequencies = _both_ways(cosines, blocks)
    kept = jnp.round(frequencies / tables) * tables
    planes = _both_ways(cosines.T, kept).reshape(shape)[:, :height, :width] + 128
    return jnp.clip(_from_planes(planes), 0, 255)


def _cosines() -> np.ndarray:
    """The orthonormal cosine transform of 8 values (DCT-II), float32[8, 8]."""
    frequency, place = np.mgrid[:8, :8]
    matrix = np.cos(np.pi * (2 * place + 1) * frequency / 16) / 2
    matrix[0] /= np.sqrt(2)
    return matrix.astype(np.float32)


def _both_ways(matrix: np.ndarray, blocks: jax.Array) -> jax.Array:
    """The matrix along the rows and the columns of blocks [B, h, 8, w, 8, C]."""
    return jnp.einsum("ui,bhiwjc,vj->bhuwvc", matrix, blocks, matrix, precision="highest")


def _to_planes(image: jax.Array) -> jax.Array:
    """RGB -> luminance, blue and red difference (ITU-T T.871); grey images as they are."""
    if image.shape[-1] == 1:
        return image
    luma = grey(image)
    blue, red = (image[..., 2:] - luma) / 1.772 + 128, (image[..., :1] - luma) / 1.402 + 128
    return jnp.concatenate([luma, blue, red], -1)


def _from_planes(planes: jax.Array) -> jax.Array:
    if planes.shape[-1] == 1:
        return planes
    luma, blue, red = jnp.split(planes, 3, -1)
    red, blue = luma + 1.402 * (red - 128), luma + 1.772 * (blue - 128)
    green = (luma - 0.299 * red - 0.114 * blue) / 0.587
    return jnp.concatenate([red, green, blue], -1)
