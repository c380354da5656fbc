"""Fifteen corruptions of images, in five severities, to measure how robust a model is.

After CIFAR-10-C and ImageNet-C (Hendrycks & Dietterich 2019, arXiv:1903.12261), made on the device
for images of any size: lengths grow with the shorter side, weather is drawn, not read from
photographs, and all pixels change at once. The kinds are the paper's, the numbers are ours:
accuracies cannot be compared with published ones.

A corruption is `corruption(keys, image, severity) -> float32[B, H, W, C]` in 0..255, unrounded:

    keys: [B]; what is drawn for an image depends on its own key alone
    image: uint8 or float[B, H, W, C] in 0..255, C = 1 or 3
    severity: 1 to 5, or int32[]: one compiled function then does for all five
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.core.augment.color import blend, grey, mean_grey
from jaxcnn.core.augment.draws import between, fresh, random_normal, random_unit, uniform
from jaxcnn.core.augment.geometry import sample_at

Corruption = Callable[[jax.Array, jax.Array, int | jax.Array], jax.Array]


def defocus_blur(keys: jax.Array, image: jax.Array, severity: int | jax.Array) -> jax.Array:
    """Blurs each point to a disc with a radius of 1.2 to 5 % of the shorter side."""
    shares = (0.012, 0.02, 0.03, 0.04, 0.05)
    side = min(image.shape[1:3])
    # A spiral whose points lie evenly over the unit disc (Vogel 1979).
    number = np.arange(1024)
    distance, angle = np.sqrt((number + 0.5) / 1024), number * math.pi * (3 - math.sqrt(5))
    disc = np.stack([distance * np.sin(angle), distance * np.cos(angle)], -1)[None]
    kernel = spread(at(severity, shares) * side * disc, math.ceil(max(shares) * side))
    return filtered(image, kernel)


def glass_blur(keys: jax.Array, image: jax.Array, severity: int | jax.Array) -> jax.Array:
    """Takes each pixel from a random place up to 1.2 to 5.5 % of the shorter side away, between two
    slight blurs. The paper swaps neighbours one after the other; here all move at once.
    """
    shares = (0.012, 0.02, 0.03, 0.04, 0.055)
    side = min(image.shape[1:3])
    reach = at(severity, shares) * side
    kernel = gaussian(reach / 3, math.ceil(max(shares) * side))
    shift = 2 * random_unit(keys, (2, *image.shape[1:3])) - 1
    return filtered(moved(filtered(image, kernel), reach * shift), kernel)


def motion_blur(keys: jax.Array, image: jax.Array, severity: int | jax.Array) -> jax.Array:
    """Drags each image in a direction of its own, over 6 to 22 % of the shorter side."""
    shares = (0.06, 0.10, 0.14, 0.18, 0.22)
    side = min(image.shape[1:3])
    (turn,) = uniform(keys, 1)
    return filtered(image, streak(at(severity, shares) * side, turn * math.pi, max(shares) * side))


def zoom_blur(
    keys: jax.Array, image: jax.Array, severity: int | jax.Array, steps: int = 12
) -> jax.Array:
    """The mean of the image enlarged in `steps` steps from 1 to 1.06 to 1.3 times."""
    _, height, width, _ = image.shape
    image = image.astype(jnp.float32)
    zooms = 1 + (at(severity, (1.06, 1.12, 1.18, 1.24, 1.30)) - 1) * jnp.linspace(0, 1, steps)

    def enlarging(size, zoom):
        """float32[size, size]: bilinear weights of a row's pixels, about its centre."""
        places, centre = jnp.arange(size), (size - 1) / 2
        source = centre + (places - centre) / zoom
        return jnp.maximum(1 - jnp.abs(source[:, None] - places), 0)

    total = jnp.zeros_like(image)
    for zoom in zooms:
        total = total + along_both(image, enlarging(height, zoom), enlarging(width, zoom))
    return jnp.clip(total / steps, 0, 255)


# Kernels of blurs are sums of points spread bilinearly over pixels, so that a blur may be a part of
# a pixel wide, and images are filtered in the frequency domain: for 224 pixels and a kernel of 21,
# 18 times as fast on a CPU as a convolution, and kernels may differ from image to image.
def filtered(image: jax.Array, kernel: jax.Array) -> jax.Array:
    """Each image convolved with its kernel float32[B or 1, k, k], mirrored at the edges; k odd.

    float32[B, H, W, C] in 0..255.
    """
    radius = kernel.shape[-1] // 2
    _, height, width, _ = image.shape
    pad = ((0, 0), (radius, radius), (radius, radius), (0, 0))
    padded = jnp.pad(image.astype(jnp.float32), pad, mode="reflect")
    spectrum = jnp.fft.rfft2(kernel, s=padded.shape[1:3])
    start = 2 * radius  # the kernel's origin is its corner, the padded image's its own

    def one_channel(channel):
        whole = jnp.fft.irfft2(jnp.fft.rfft2(channel) * spectrum, s=channel.shape[1:])
        return whole[:, start : start + height, start : start + width]

    # Channel by channel: XLA:CPU of jaxlib 0.10.2 refuses the transform of a transposed array that
    # is split over devices.
    channels = [one_channel(padded[..., c]) for c in range(image.shape[-1])]
    return jnp.clip(jnp.stack(channels, -1), 0, 255)


def spread(points: jax.Array, radius: int) -> jax.Array:
    """The kernel of equal points [B, n, 2], pixels from its centre; float32[B, k, k], k odd.

    radius: the largest distance of a point along an axis; k = 2 radius + 3. It adds to 1.
    """
    offsets = jnp.arange(-radius - 1, radius + 2)
    weights = jnp.maximum(1 - jnp.abs(points[..., None] - offsets), 0)  # [B, n, 2, k]
    kernel = jnp.einsum("bni,bnj->bij", weights[:, :, 0], weights[:, :, 1], precision="highest")
    return kernel / points.shape[1]


def along_both(image: jax.Array, rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Matrices rows[h, H] and columns[w, W] times the columns and rows of each image; float32."""
    # Accelerators would multiply in bfloat16 or TF32.
    image = jnp.einsum("ij,bjwc->biwc", rows, image.astype(jnp.float32), precision="highest")
    return jnp.einsum("vw,biwc->bivc", columns, image, precision="highest")


def gaussian(sigma: jax.Array, radius: int) -> jax.Array:
    """The kernel of a Gaussian of `sigma` pixels, float32[1, k, k]; k = 2 radius + 1."""
    offsets = jnp.arange(-radius, radius + 1)
    weights = jnp.exp(-0.5 * (offsets / sigma) ** 2)
    weights /= weights.sum()
    return jnp.outer(weights, weights)[None]


def streak(length: jax.Array, angle: jax.Array, longest: float) -> jax.Array:
    """The kernel of a straight line of `length` pixels at angle[B], in radians from the x-axis."""
    along = np.linspace(-0.5, 0.5, 2 * math.ceil(longest) + 1) * length
    points = jnp.stack([jnp.sin(angle)[:, None] * along, jnp.cos(angle)[:, None] * along], -1)
    return spread(points, math.ceil(longest / 2))


def moved(image: jax.Array, shift: jax.Array) -> jax.Array:
    """Samples each pixel shift[B, 2, H, W] pixels away, at most at the edges; float32."""
    _, height, width, _ = image.shape
    shift = jax.lax.optimization_barrier(shift)  # or XLA:CPU draws it anew for each corner
    y = jnp.arange(height)[:, None] + shift[:, 0]
    x = jnp.arange(width) + shift[:, 1]
    return sample_at(image, jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1))


SEVERITIES = (1, 2, 3, 4, 5)


def at(severity: int | jax.Array, values: tuple[float, ...]) -> jax.Array:
    """The value of a severity, float32[], of five; ValueError for a number that is none."""
    if not isinstance(severity, jax.Array) and severity not in SEVERITIES:
        raise ValueError(f"severity={severity!r}: expected a whole number from 1 to 5")
    return jnp.asarray(values, jnp.float32)[severity - 1]


def gaussian_noise(keys: jax.Array, image: jax.Array, severity: int | jax.Array) -> jax.Array:
    """Adds normal noise of a standard deviation of 4 to 12 % of the range."""
    std = 255 * at(severity, (0.04, 0.06, 0.08, 0.10, 0.12))
    return jnp.clip(image + std * random_normal(keys, image.shape[1:]), 0, 255)


def shot_noise(keys: jax.Array, image: jax.Array, severity: int | jax.Array) -> jax.Array:
    """Adds the noise of counted photons, 400 down to 40 for a white value.

    Normal, with the mean and variance of the Poisson distribution: for 255 steps close enough, and
    without the loops that draw exact counts.
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


def snow(keys: jax.Array, image: jax.Array, severity: int | jax.Array) -> jax.Array:
    """Pales the image, and lets ever more flakes fall through it, slanted alike in one image.

    Flakes are peaks of a noise whose cells are a 32nd of the shorter side, at least a pixel.
    """
    batch, height, width, _ = image.shape
    side = min(image.shape[1:3])
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
    return blend(image, mean_grey(image), at(severity, (0.75, 0.6, 0.45, 0.3, 0.15)))


def elastic_transform(keys: jax.Array, image: jax.Array, severity: int | jax.Array) -> jax.Array:
    """Stretches parts of the image, by at most 1.5 to 5.5 % of the shorter side.

    A smooth field of shifts (Simard et al. 2003): a grid of 6x6 random ones, enlarged.
    """
    batch, height, width, _ = image.shape
    grid = 2 * random_unit(keys, (2, 6, 6)) - 1
    shift = jax.image.resize(grid, (batch, 2, height, width), "cubic")
    reach = at(severity, (0.015, 0.022, 0.03, 0.04, 0.055)) * min(image.shape[1:3])
    return moved(image, reach * jnp.clip(shift, -1, 1))


def pixelate(keys: jax.Array, image: jax.Array, severity: int | jax.Array) -> jax.Array:
    """Averages over blocks, of which there are 85 to 35 % as many along a side as pixels."""
    share = at(severity, (0.85, 0.7, 0.55, 0.45, 0.35))

    def means(size):
        """float32[size, size]: from the pixels of a row to the mean of each one's block."""
        block = jnp.floor(jnp.arange(size) * share)
        same = (block[:, None] == block).astype(jnp.float32)
        return same / same.sum(1, keepdims=True)

    _, height, width, _ = image.shape
    return jnp.clip(along_both(image, means(height), means(width)), 0, 255)


def jpeg_compression(keys: jax.Array, image: jax.Array, severity: int | jax.Array) -> jax.Array:
    """Approximates the losses of JPEG of quality 80 to 15.

    Blocks of 8x8 pixels, their cosine transform quantised by the tables of ITU-T T.81; luminance
    and colour both at full resolution, and no rounding of pixels.
    """
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


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "frost": frost,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "elastic_transform": elastic_transform,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
}
