"""Blur: out of focus, through glass, in motion, while zooming.

Kernels are sums of points spread bilinearly over pixels, so that a blur may be a fraction of a
pixel wide, and images are filtered in the frequency domain: for 224 pixels and a kernel of 21, 18
times as fast on a CPU as a convolution, and kernels may differ from image to image.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.core.augment.color import random_unit
from jaxcnn.core.augment.draws import uniform
from jaxcnn.core.augment.warp import sample_at
from jaxcnn.core.corruptions.severity import at, shorter_side


def defocus_blur(keys: jax.Array, image: jax.Array, severity: int | jax.Array) -> jax.Array:
    """Makes points discs, with a radius of 1.2 to 5 % of the shorter side."""
    del keys  # nothing is drawn
    shares = (0.012, 0.02, 0.03, 0.04, 0.05)
    side = shorter_side(image)
    # A spiral whose points lie evenly over the unit disc (Vogel 1979).
    number = np.arange(1024)
    distance, angle = np.sqrt((number + 0.5) / 1024), number * math.pi * (3 - math.sqrt(5))
    disc = np.stack([distance * np.sin(angle), distance * np.cos(angle)], -1)[None]
    kernel = spread(at(severity, shares) * side * disc, math.ceil(max(shares) * side))
    return filtered(image, kernel)


def glass_blur(keys: jax.Array, image: jax.Array, severity: int | jax.Array) -> jax.Array:
    """Takes each pixel from a random place up to 1.2 to 5.5 % of the shorter side away.

    Between two slight blurs. The paper swaps neighbours one after the other; here all move at once.
    """
    shares = (0.012, 0.02, 0.03, 0.04, 0.055)
    side = shorter_side(image)
    reach = at(severity, shares) * side
    kernel = gaussian(reach / 3, math.ceil(max(shares) * side))
    shift = 2 * random_unit(keys, (2, *image.shape[1:3])) - 1
    return filtered(moved(filtered(image, kernel), reach * shift), kernel)


def motion_blur(keys: jax.Array, image: jax.Array, severity: int | jax.Array) -> jax.Array:
    """Drags each image in a direction of its own, over 6 to 22 % of the shorter side."""
    shares = (0.06, 0.10, 0.14, 0.18, 0.22)
    side = shorter_side(image)
    (turn,) = uniform(keys, 1)
    return filtered(image, streak(at(severity, shares) * side, turn * math.pi, max(shares) * side))


def zoom_blur(
    keys: jax.Array, image: jax.Array, severity: int | jax.Array, steps: int = 12
) -> jax.Array:
    """The mean of the image enlarged in `steps` steps from 1 to 1.06 to 1.3 times."""
    del keys  # nothing is drawn
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
    """Each image with its columns times rows[h, H] and its rows times columns[w, W]; float32."""
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
    """Each pixel from where shift[B, 2, H, W] says, in pixels, held at the edges; float32."""
    _, height, width, _ = image.shape
    shift = jax.lax.optimization_barrier(shift)  # or XLA:CPU draws it anew for each corner
    y = jnp.arange(height)[:, None] + shift[:, 0]
    x = jnp.arange(width) + shift[:, 1]
    return sample_at(image, jnp.clip(y, 0, height - 1), jnp.clip(x, 0, width - 1))
