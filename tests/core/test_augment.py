"""Augmentation moves pixels about and never invents any; an example's draw is its own."""

import inspect
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxcnn.core.augment import compose, normalize, on_image, to_float
from jaxcnn.core.augment.geometry import random_crop, random_flip


@pytest.fixture(scope="module")
def image():
    """uint8[64, 8, 8, 1] handwritten digits."""
    return (load_digits().images[:64] * 15.9).astype(np.uint8)[..., None]


def keys_of(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def windows(image, padding, how="constant"):
    """All (2 * padding + 1)**2 crops of one padded image, as bytes -> offset."""
    padded = np.pad(image, ((padding, padding), (padding, padding), (0, 0)), how)
    offsets = [(i, j) for i in range(2 * padding + 1) for j in range(2 * padding + 1)]
    height, width, _ = image.shape
    return {padded[i : i + height, j : j + width].tobytes(): (i, j) for i, j in offsets}


def test_a_flipped_image_keeps_its_pixels(image):
    flipped = np.asarray(random_flip(keys_of(64), image, probability=1.0))
    np.testing.assert_array_equal(flipped, image[:, :, ::-1])
    np.testing.assert_array_equal(random_flip(keys_of(64), flipped, probability=1.0), image)


def test_a_flip_of_probability_0_changes_nothing(image):
    np.testing.assert_array_equal(random_flip(keys_of(64), image, probability=0.0), image)


def test_about_half_of_all_images_are_flipped(image):
    many = jnp.broadcast_to(image[:1], (2000, *image.shape[1:]))
    flipped = (np.asarray(random_flip(keys_of(2000), many)) != image[0]).any((1, 2, 3))
    assert 0.45 < flipped.mean() < 0.55  # more than four standard deviations


@pytest.mark.parametrize("padding", [1, 3])
def test_a_crop_is_a_window_of_the_image_on_black(image, padding):
    cropped = np.asarray(random_crop(keys_of(64), image, padding))
    assert cropped.dtype == np.uint8
    assert cropped.shape == image.shape
    for before, after in zip(image, cropped, strict=True):
        assert after.tobytes() in windows(before, padding)


def test_beyond_its_border_an_image_may_be_mirrored(image):
    cropped = np.asarray(random_crop(keys_of(64), image, 2, "reflect"))
    assert cropped.dtype == np.uint8
    for before, after in zip(image, cropped, strict=True):
        assert after.tobytes() in windows(before, 2, "reflect")
    assert (cropped != random_crop(keys_of(64), image, 2)).any()
    with pytest.raises(ValueError, match="border='wrap': expected one of black, reflect"):
        random_crop(keys_of(64), image, 2, "wrap")


def test_a_crop_reaches_every_offset(image):
    many = jnp.broadcast_to(image[:1], (500, *image.shape[1:]))
    offset_of = windows(image[0], 1)
    cropped = np.asarray(random_crop(keys_of(500), many, 1))
    assert {offset_of[one.tobytes()] for one in cropped} == set(offset_of.values())


def test_a_crop_without_padding_changes_nothing(image):
    np.testing.assert_array_equal(random_crop(keys_of(64), image, 0), image)


def test_a_crop_that_could_lose_the_whole_image_is_refused(image):
    with pytest.raises(ValueError, match="padding=8: images of 8x8 pixels would leave the image"):
        random_crop(keys_of(64), image, 8)


def test_images_need_not_be_square(image):
    wide = image[:, :5]
    cropped = np.asarray(random_crop(keys_of(64), wide, 2))
    assert all(c.tobytes() in windows(w, 2) for w, c in zip(wide, cropped, strict=True))
    np.testing.assert_array_equal(random_flip(keys_of(64), wide, 1.0), wide[:, :, ::-1])


@pytest.mark.parametrize(
    "operation", [partial(random_crop, padding=2), random_flip], ids=["crop", "flip"]
)
class TestEveryOperation:
    def test_an_example_does_not_depend_on_its_neighbours(self, operation, image):
        keys = keys_of(64)
        together = np.asarray(operation(keys, image))
        order = np.random.default_rng(0).permutation(64)
        np.testing.assert_array_equal(operation(keys[order], image[order]), together[order])
        np.testing.assert_array_equal(operation(keys[7:8], image[7:8])[0], together[7])

    def test_the_same_keys_draw_the_same_and_others_differ(self, operation, image):
        once = np.asarray(operation(keys_of(64, seed=1), image))
        np.testing.assert_array_equal(operation(keys_of(64, seed=1), image), once)
        assert (np.asarray(operation(keys_of(64, seed=2), image)) != once).any()

    def test_it_runs_under_jit_and_on_floats_alike(self, operation, image):
        keys = keys_of(64)
        compiled = jax.jit(operation)(keys, image.astype(np.float32))
        assert compiled.dtype == jnp.float32
        np.testing.assert_array_equal(compiled, operation(keys, image))


def test_composed_operations_run_in_order():
    double = on_image(lambda keys, image: image * 2)
    add_one = on_image(lambda keys, image: image + 1)
    batch = {"image": jnp.ones((2, 1, 1, 1))}
    for operations, expected in (([double, add_one], 3.0), ([add_one, double], 4.0)):
        image = compose(operations)(keys_of(2), batch)["image"]
        assert image.ravel().tolist() == [expected, expected]


def test_composing_nothing_changes_nothing(image):
    batch = {"image": image, "label": np.arange(64)}
    assert compose([])(keys_of(64), batch) == batch


def test_composed_operations_draw_from_keys_of_their_own():
    @on_image
    def draw(keys, image):
        number = jax.vmap(jax.random.uniform)(keys)[:, None, None, None]
        return jnp.concatenate([image, number], axis=-1)

    batch = {"image": jnp.zeros((100, 1, 1, 0))}
    drawn = np.asarray(compose([draw, draw])(keys_of(100), batch)["image"])
    first, second = drawn[:, 0, 0].T
    assert (first != second).all()
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.4  # four standard deviations


def test_a_lifted_operation_changes_the_image_and_nothing_else(image):
    batch = {"image": image, "label": np.arange(64), "anything": "else"}
    lifted = on_image(random_flip)(keys_of(64), batch, probability=1.0)
    np.testing.assert_array_equal(lifted.pop("image"), image[:, :, ::-1])
    assert lifted == {name: batch[name] for name in lifted} and len(lifted) == 2
    parameters = inspect.signature(on_image(random_flip)).parameters
    assert list(parameters) == ["keys", "image", "probability"]


def test_normalize_subtracts_the_mean_and_divides_by_the_deviation():
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 6, 3), np.uint8)
    mean, std = (0.49, 0.48, 0.45), (0.25, 0.24, 0.26)
    normalized = normalize(image, mean=mean, std=std)
    expected = (image / 255 - np.array(mean)) / np.array(std)
    assert normalized.dtype == jnp.float32
    np.testing.assert_allclose(normalized, expected, atol=1e-6)


def test_to_float_maps_bytes_to_0_to_1():
    levels = to_float(jnp.arange(256, dtype=jnp.uint8))
    assert levels.dtype == jnp.float32
    np.testing.assert_allclose(levels, np.arange(256) / 255, rtol=1e-6)
