"""Colours become what Pillow, SciPy and colorsys make of them."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from PIL import Image, ImageEnhance, ImageFilter, ImageOps

from jaxcnn.core.augment import policies
from jaxcnn.core.augment.color import (
    blend,
    convolve,
    grey,
    mean_grey,
    random_blur,
    random_brightness,
    random_contrast,
    random_greyscale,
    random_noise,
    random_saturation,
    shift_hue,
)
from jaxcnn.core.augment.draws import random_integers
from tests.core.test_augment_battery import keys_of, make_batch

equalize = jax.jit(policies.equalize)
blur = jax.jit(random_blur, static_argnums=(2, 3))
convolved = jax.jit(convolve, static_argnums=2)


@pytest.fixture(scope="module")
def image():
    """float32[16, 20, 28, 3], whole numbers"""
    return make_batch(dtype=np.float32)["image"]


def pillow(image, function):
    """`function` of each image through Pillow's bytes."""
    return np.stack([np.asarray(function(Image.fromarray(np.uint8(one)))) for one in image])


@pytest.mark.parametrize("factor", [0.3, 1.0, 1.6])
@pytest.mark.parametrize(
    ("enhance", "reference"),
    [
        (ImageEnhance.Brightness, lambda image: 0.0),
        (ImageEnhance.Color, grey),
        (ImageEnhance.Contrast, mean_grey),
        (ImageEnhance.Sharpness, policies.smooth),
    ],
)
def test_a_blend_is_pillows_but_for_rounding(image, enhance, reference, factor):
    ours = blend(image, reference(image), jnp.full((16, 1, 1, 1), factor))
    expected = pillow(image, lambda one: enhance(one).enhance(factor))
    np.testing.assert_allclose(ours, expected, atol=1.6)


@pytest.mark.parametrize(
    ("operation", "reference"),
    [
        (random_brightness, lambda image: 0.0),
        (random_contrast, mean_grey),
        (random_saturation, grey),
    ],
)
def test_factors_are_spread_between_their_bounds(image, operation, reference):
    """Read from dim images, which clip nowhere."""
    dim = jnp.concatenate([100 + (image - 128) / 20] * 20)
    against = jnp.broadcast_to(reference(dim), dim.shape)
    changed = operation(keys_of(0, 320), dim, 0.4)
    distance = np.asarray((dim - against).reshape(320, -1))
    factor = (np.asarray((changed - against).reshape(320, -1)) * distance).sum(1)
    factor /= (distance**2).sum(1)
    assert 0.59 < factor.min() < 0.65 and 1.35 < factor.max() < 1.41
    assert abs(factor.mean() - 1) < 0.06


def test_greyscale_is_the_luma_on_all_channels(image):
    turned = np.asarray(random_greyscale(keys_of(), image, 1.0))
    np.testing.assert_allclose(turned[..., 0], pillow(image, lambda i: i.convert("L")), atol=0.6)
    np.testing.assert_array_equal(turned[..., :1], turned[..., 1:2])
    np.testing.assert_array_equal(turned[..., :1], turned[..., 2:])


@pytest.mark.parametrize("turn", [-0.5, -0.13, 0.0, 0.08, 1 / 3, 0.5])
def test_a_hue_turns_as_colorsys_says(image, turn):
    ours = np.asarray(shift_hue(image[:2, ::3, ::3], jnp.full(2, turn)))
    before = np.asarray(image[:2, ::3, ::3]).reshape(-1, 3) / 255
    hsv = [colorsys.rgb_to_hsv(*map(float, pixel)) for pixel in before]
    expected = [colorsys.hsv_to_rgb((h + turn) % 1, s, v) for h, s, v in hsv]
    np.testing.assert_allclose(ours.reshape(-1, 3) / 255, expected, atol=1e-5)


def test_noise_is_gaussian_with_its_deviation():
    noisy = np.asarray(random_noise(keys_of(), jnp.full((16, 40, 40, 3), 127.0), 0.05)) - 127
    assert abs(noisy.mean()) < 0.2 and abs(noisy.std() - 12.75) < 0.2
    inside = [(np.abs(noisy) < k * 12.75).mean() for k in (1, 2, 3)]
    np.testing.assert_allclose(inside, [0.6827, 0.9545, 0.9973], atol=0.006)
    assert abs(np.corrcoef(noisy[0].ravel(), noisy[1].ravel())[0, 1]) < 0.06
    assert abs(np.corrcoef(noisy[:, :, :-1].ravel(), noisy[:, :, 1:].ravel())[0, 1]) < 0.02


@pytest.mark.parametrize(("dtype", "levels"), [(jnp.uint8, 256), (jnp.uint16, 65536)])
def test_random_integers_reach_all_values_alike(dtype, levels):
    values = np.asarray(random_integers(keys_of(), (101, 103), dtype))
    assert values.shape == (16, 101, 103) and values.dtype == dtype
    sixteenths = np.bincount(values.ravel() // (levels // 16), minlength=16) / values.size
    np.testing.assert_allclose(sixteenths, 1 / 16, atol=0.004)


def test_a_blur_is_scipys_with_the_edges_mirrored(image):
    """With the smallest and largest sigma alike, so that it is known."""
    blurred = blur(keys_of(), image, 0.1, 1.0)
    np.testing.assert_allclose(blurred, image, atol=1e-3)
    offsets = np.arange(-6, 7)
    weights = np.exp(-0.5 * (offsets / 1.5) ** 2)
    weights = jnp.broadcast_to(jnp.asarray(weights / weights.sum(), jnp.float32), (16, 13))
    ours = convolved(convolved(image, weights, 1), weights, 2)
    expected = scipy.ndimage.gaussian_filter(
        np.asarray(image, np.float64), (0, 1.5, 1.5, 0), mode="mirror", truncate=4
    )
    np.testing.assert_allclose(ours, expected, atol=1e-2)


def test_images_smaller_than_the_gaussian_blur_all_the_same(image):
    small = image[:, :4, :6]
    blurred = np.asarray(blur(keys_of(), small, 5.0, 1.0))
    assert (blurred.std((1, 2)) < np.asarray(small).std((1, 2)) + 1e-3).all()


def test_equalize_and_autocontrast_are_pillows(image):
    np.testing.assert_allclose(
        policies.autocontrast(image), pillow(image, ImageOps.autocontrast), atol=1.01
    )
    large = make_batch(height=64, width=64, dtype=np.float32, size=4)["image"]
    ours, expected = equalize(large), pillow(large, ImageOps.equalize)
    # Pillow divides by a whole number of pixels a level, here 16 instead of 16.06 or less.
    assert np.abs(np.asarray(ours) - expected).mean() < 3


def test_equalize_evens_out_each_channel_and_leaves_one_value_alone(image):
    levels = np.asarray(equalize(image))
    assert abs(levels.mean() - 127.5) < 12 and levels.min() == 0 and levels.max() == 255
    flat = jnp.full((2, 9, 9, 3), 77.0)
    np.testing.assert_array_equal(equalize(flat), flat)
    np.testing.assert_array_equal(policies.autocontrast(flat), flat)


def test_equalize_of_large_images_samples_their_pixels():
    ramp = np.broadcast_to(np.arange(256.0)[:, None, None] ** 0.5 * 15.9, (1, 256, 256, 1))
    levels = np.asarray(equalize(jnp.asarray(ramp, jnp.float32)))[0, :, 0, 0]
    assert np.abs(levels - np.arange(256)).max() < 8


def test_smoothing_is_pillows(image):
    expected = pillow(image, lambda one: one.filter(ImageFilter.SMOOTH))
    np.testing.assert_allclose(policies.smooth(image), expected, atol=0.51)
