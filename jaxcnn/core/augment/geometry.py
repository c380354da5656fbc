"""Operations that move pixels: crops, flips, shifts; rotations and other affine maps, bilinear."""

from collections.abc import Mapping
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.core.augment import draws

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
    draws.check_share("share", share)
    _, height, width, _ = image.shape
    down, right, chance = draws.uniform(keys, 3)
    drawn = draws.applies(chance, probability)

    def source(unit, size):
        """Which row or column each one of the output comes from, int32[B, size]."""
        limit = int(share * size)
        steps = jnp.floor(draws.between(unit, -limit, limit + 1)).astype(jnp.int32)
        return jnp.arange(size) - jnp.where(drawn, steps, 0)[:, None]

    def moved(image, rows, columns):
        inside = ((rows >= 0) & (rows < height))[:, :, None]
        inside = inside & ((columns >= 0) & (columns < width))[:, None, :]
        image = _take(image, jnp.clip(rows, 0, height - 1), axis=1)
        image = _take(image, jnp.clip(columns, 0, width - 1), axis=2)
        return jnp.where(inside[..., None], image, jnp.asarray(fill, image.dtype))

    return draws.where_any(drawn, moved, image, source(down, height), source(right, width))


def random_resized_crop(
    keys: jax.Array,
    image: jax.Array,
    scale: draws.Range = (0.08, 1.0),
    ratio: draws.Range = (3 / 4, 4 / 3),
) -> jax.Array:
    """Cuts a random rectangle and enlarges it to the image's size, bilinearly.

    The crop of Szegedy et al. 2015, arXiv:1409.4842; its corners need not lie on pixels. A side
    that is too long is shortened, instead of drawing again.

    scale: the rectangle's share of the area; ratio: its width / height in pixels, drawn so that
      1 / ratio is as likely.
    Returns float32[B, H, W, C].
    """
    draws.check_range("scale", scale, highest=1)
    draws.check_range("ratio", ratio)
    _, height, width, _ = image.shape
    area, aspect, down, right = draws.uniform(keys, 4)
    area = draws.between(area, *scale) * (height * width)
    aspect = jnp.exp(draws.between(aspect, float(np.log(ratio[0])), float(np.log(ratio[1]))))
    rows = jnp.minimum(jnp.sqrt(area / aspect), height)
    columns = jnp.minimum(jnp.sqrt(area * aspect), width)

    def positions(start, length, size):
        """Where the output's pixel centres lie in the input, float32[B, size]."""
        centres = (jnp.arange(size, dtype=jnp.float32) + 0.5) / size
        return start[:, None] + centres * length[:, None] - 0.5

    top, left = down * (height - rows), right * (width - columns)
    vertical, horizontal = positions(top, rows, height), positions(left, columns, width)
    needed = (rows < height) | (columns < width)
    return draws.where_any(needed, _resample, image, vertical, horizontal)


def random_flip(keys: jax.Array, image: jax.Array, probability: float = 0.5) -> jax.Array:
    """Mirrors each image left-right with the given probability."""
    return jnp.where(_choose(keys, probability), image[:, :, ::-1], image)


def random_vertical_flip(keys: jax.Array, image: jax.Array, probability: float = 0.5) -> jax.Array:
    """Mirrors each image upside down with the given probability."""
    return jnp.where(_choose(keys, probability), image[:, ::-1], image)


def alternating_flip(keys: jax.Array, batch: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Mirrors each image left-right in every other epoch; in its first epoch at random.

    Two epochs in a row show both views of each image; with independent flips half of the images
    show one of them twice (Jordan 2024, arXiv:2404.00498, section 3.6).

    batch: with the step's "key" (the example's own, the same in every epoch) and "epoch".
    """
    del keys  # they change with the step
    first = jax.vmap(lambda key: jax.random.bits(key, (), jnp.uint32) & 1)(batch["key"])
    flip = (first + batch["epoch"].astype(jnp.uint32)) % 2 == 1
    image = batch["image"]
    return {**batch, "image": jnp.where(draws.per_image(flip), image[:, :, ::-1], image)}


def affine_matrix(
    angle: jax.Array | float = 0.0,
    down: jax.Array | float = 0.0,
    right: jax.Array | float = 0.0,
    scale: jax.Array | float = 1.0,
    shear_x: jax.Array | float = 0.0,
    shear_y: jax.Array | float = 0.0,
) -> jax.Array:
    """The map from an output pixel to its place in the input, float32[B, 2, 3].

    It acts on (y, x, 1) in pixels from the image's centre, y downwards. All arguments float32[B] or
    numbers, at least one of them an array. The image is scaled, sheared (x += shear_x * y after
    y += shear_y * x), turned counter-clockwise by `angle` radians and shifted, in this order.
    """
    cos, sin = jnp.cos(angle), jnp.sin(angle)

    def inverse(y, x):
        y, x = cos * y + sin * x, cos * x - sin * y
        x = x - shear_x * y
        y = y - shear_y * x
        return y / scale, x / scale

    columns = [*inverse(1.0, 0.0), *inverse(0.0, 1.0), *inverse(-1.0 * down, -1.0 * right)]
    columns = jnp.broadcast_arrays(*(jnp.asarray(c, jnp.float32) for c in columns))
    return jnp.stack(columns, -1).reshape(-1, 3, 2).swapaxes(1, 2)


def chain(first: jax.Array, second: jax.Array) -> jax.Array:
    """The matrix of warping with `first` and then with `second`, all float32[B, 2, 3]."""
    row = jnp.broadcast_to(jnp.array([0.0, 0.0, 1.0], jnp.float32), (second.shape[0], 1, 3))
    # Accelerators would multiply in bfloat16 or TF32: half a pixel off at the edge of an image.
    return jnp.matmul(first, jnp.concatenate([second, row], 1), precision="highest")


def warp(image: jax.Array, matrix: jax.Array, fill: float = 0.0) -> jax.Array:
    """Each image under its own affine map, see `affine_matrix`; float32[B, H, W, C].

    fill: what lies outside of the image, in 0..255. The identity is exact.
    """
    identity = jnp.eye(2, 3, dtype=jnp.float32)
    needed = (matrix != identity).any((1, 2))
    return draws.where_any(needed, partial(_warp, fill=fill), image, matrix)


def _warp(image: jax.Array, matrix: jax.Array, fill: float) -> jax.Array:
    _, height, width, _ = image.shape
    centre_y, centre_x = (height - 1) / 2, (width - 1) / 2
    y = jnp.arange(height, dtype=jnp.float32)[:, None] - centre_y
    x = jnp.arange(width, dtype=jnp.float32) - centre_x
    rows = matrix[:, :, :, None, None]
    source_y, source_x = (
        rows[:, i, 0] * y + rows[:, i, 1] * x + rows[:, i, 2] + centre
        for i, centre in enumerate((centre_y, centre_x))
    )
    return sample_at(image, source_y, source_x, fill)


def sample_at(
    image: jax.Array, source_y: jax.Array, source_x: jax.Array, fill: float = 0.0
) -> jax.Array:
    """Bilinear samples of each image at places [B, H, W], in pixels; float32[B, H, W, C].

    fill: what lies outside of the image, in 0..255.
    """
    batch, height, width, channels = image.shape
    top, left = jnp.floor(source_y), jnp.floor(source_x)
    lower, right = source_y - top, source_x - left
    top, left = top.astype(jnp.int32), left.astype(jnp.int32)
    # A gather of whole pixels: on a CPU 2 to 4 times as fast as one of single values, and 4 times
    # as fast at 224 pixels as matrix products, which a rotation would need several of.
    pixels = image.reshape(batch, height * width, channels)

    def corner(i, j, weight):
        inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
        place = jnp.clip(i, 0, height - 1) * width + jnp.clip(j, 0, width - 1)
        value = jax.vmap(lambda one, at: one.at[at].get(mode="promise_in_bounds"))(
            pixels, place.reshape(batch, -1)
        ).reshape(image.shape)
        weight = jnp.where(inside, weight, 0)[..., None]
        return weight * (value.astype(jnp.float32) - fill)

    warped = (
        corner(top, left, (1 - lower) * (1 - right))
        + corner(top, left + 1, (1 - lower) * right)
        + corner(top + 1, left, lower * (1 - right))
        + corner(top + 1, left + 1, lower * right)
    )
    return jnp.clip(warped + fill, 0, 255)  # weights may add to a rounding error more than 1


def random_rotation(
    keys: jax.Array,
    image: jax.Array,
    degrees: float = 15.0,
    fill: float = 0.0,
    probability: float = 1.0,
) -> jax.Array:
    """Turns each image about its centre by an angle from -degrees to degrees.

    fill: what the corners become, in 0..255. Returns float32[B, H, W, C].
    """
    draws.check_amount("degrees", degrees, "an angle")
    angle, chance = draws.uniform(keys, 2)
    drawn = draws.applies(chance, probability)
    angle = jnp.where(drawn, draws.between(angle, -degrees, degrees), 0)
    return warp(image, affine_matrix(angle=jnp.deg2rad(angle)), fill)


def random_affine(
    keys: jax.Array,
    image: jax.Array,
    degrees: float = 10.0,
    translate: float = 0.1,
    scale: draws.Range = (0.9, 1.1),
    shear: float = 5.0,
    fill: float = 0.0,
    probability: float = 1.0,
) -> jax.Array:
    """Scales, slants, turns and shifts each image, in one interpolation.

    degrees: largest angle of the rotation; translate: largest shift, as a share of height and
      width; scale: of the length of things, drawn so that 1 / scale is as likely; shear: largest
      slant along x and along y, in degrees below 90; fill: what lies outside, in 0..255.
    Returns float32[B, H, W, C].
    """
    draws.check_amount("degrees", degrees, "an angle")
    draws.check_share("translate", translate)
    draws.check_range("scale", scale)
    if not 0 <= shear < 90:
        raise ValueError(f"shear={shear!r}: expected an angle from 0 to below 90")
    _, height, width, _ = image.shape
    *units, scaling, chance = draws.uniform(keys, 7)
    drawn = draws.applies(chance, probability)
    most = (degrees, translate * height, translate * width, shear, shear)
    angle, down, right, shear_x, shear_y = (
        jnp.where(drawn, draws.between(unit, -largest, largest), 0)
        for unit, largest in zip(units, most, strict=True)
    )
    low, high = (jnp.log(jnp.float32(s)) for s in scale)
    matrix = affine_matrix(
        angle=jnp.deg2rad(angle),
        down=down,
        right=right,
        scale=jnp.where(drawn, jnp.exp(low + scaling * (high - low)), 1),
        shear_x=jnp.tan(jnp.deg2rad(shear_x)),
        shear_y=jnp.tan(jnp.deg2rad(shear_y)),
    )
    return warp(image, matrix, fill)


def _choose(keys: jax.Array, probability: float) -> jax.Array:
    draws.check_share("probability", probability)
    return draws.per_image(jax.vmap(partial(jax.random.bernoulli, p=probability))(keys))


def _take(image: jax.Array, index: jax.Array, axis: int) -> jax.Array:
    """Rows (axis=1) or columns (axis=2) of each image, by its own index int32[B, n], in bounds."""
    at = (lambda one, i: one.at[i]) if axis == 1 else (lambda one, i: one.at[:, i])
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
