"""Every corruption changes images the more the severer it is, each by its own key alone."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcnn.core.corruptions import CORRUPTIONS, SEVERITIES
from tests.core.test_augment_battery import keys_of, make_batch
from tests.steps import real_batch

PHOTOS = make_batch(3, 32, 32, size=16)["image"]
DIGITS = real_batch(16)["image"]
DETERMINISTIC = {
    "defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression",
}  # fmt: skip

every_corruption = pytest.mark.parametrize("name", CORRUPTIONS)


@cache
def compiled(name):
    """One function for all severities and tests: they share what is compiled."""
    return jax.jit(CORRUPTIONS[name])


@every_corruption
@pytest.mark.parametrize("image", [PHOTOS, DIGITS], ids=["photos", "digits"])
def test_the_severer_the_further_from_the_clean_image(name, image):
    distances = []
    for severity in SEVERITIES:
        corrupted = np.asarray(compiled(name)(keys_of(), image, severity))
        assert corrupted.shape == image.shape and corrupted.dtype == np.float32
        assert corrupted.min() >= 0 and corrupted.max() <= 255  # which no NaN is
        distances.append(np.abs(corrupted - np.asarray(image, np.float32)).mean())
    steps = np.diff(distances) / distances[:-1]
    assert distances[0] > 0.5 and distances[-1] < 100
    assert (steps > 0.05).all(), distances


@every_corruption
def test_an_image_depends_on_its_own_key_and_pixels_alone(name):
    corrupt, keys = compiled(name), keys_of()
    together = np.asarray(corrupt(keys, PHOTOS, 3))
    moved = corrupt(keys[::-1], PHOTOS[::-1], 3)
    np.testing.assert_allclose(moved[::-1], together, atol=1e-3)
    others = corrupt(keys.at[2:].set(keys_of(1)[2:]), PHOTOS.at[2:].set(0), 3)
    np.testing.assert_allclose(others[:2], together[:2], atol=1e-3)
    same = np.asarray(corrupt(jnp.repeat(keys[:1], 16), PHOTOS, 3)[0])
    np.testing.assert_allclose(same, together[0], atol=1e-3)
    other = np.asarray(corrupt(keys_of(1), PHOTOS, 3))
    assert np.array_equal(other, together) == (name in DETERMINISTIC)


@pytest.mark.parametrize("name", ["defocus_blur", "glass_blur", "motion_blur", "snow", "pixelate"])
def test_eight_devices_give_what_one_gives(name):
    split = NamedSharding(Mesh(np.array(jax.devices()), ("data",)), P("data"))
    placed = jax.device_put((keys_of(), PHOTOS), split)
    eight = jax.jit(CORRUPTIONS[name])(*placed, 3)
    one = compiled(name)(keys_of(), PHOTOS, 3)
    far = np.abs(np.asarray(eight) - np.asarray(one)) > 1e-2
    assert far.mean() < 1e-3  # rounding may fall on either side


@every_corruption
@pytest.mark.parametrize("shape", [(8, 8, 3), (9, 30, 1), (224, 224, 3), (224, 160, 1)], ids=str)
def test_any_size_of_one_or_three_channels_will_do(name, shape):
    keys = jax.eval_shape(lambda: keys_of(size=2))
    image = jax.ShapeDtypeStruct((2, *shape), jnp.uint8)
    done = jax.eval_shape(lambda *given: CORRUPTIONS[name](*given, 5), keys, image)
    assert (done.shape, done.dtype) == (image.shape, jnp.float32)


@pytest.mark.parametrize("name", ["defocus_blur", "motion_blur", "pixelate", "zoom_blur"])
def test_blurs_keep_an_even_image_as_it_is(name):
    even = jnp.full((2, 12, 20, 3), 77, jnp.uint8)
    done = compiled(name)(keys_of(size=2), even, 5)
    np.testing.assert_allclose(done, 77, atol=1e-3)


def test_an_image_of_eight_by_eight_blocks_of_one_value_survives_jpeg():
    """Only the mean of each block is left, in steps of the tables' first number."""
    values = jnp.array([[[[10.0]], [[200.0]]], [[[60.0]], [[130.0]]]])
    image = jnp.kron(values.reshape(1, 2, 2, 1), jnp.ones((1, 8, 8, 1)))
    done = compiled("jpeg_compression")(keys_of(size=1), image, 1)
    assert np.abs(np.asarray(done - image)).max() <= 6 / 16 + 1e-3  # half a step of 16 * 0.4, / 8
    np.testing.assert_allclose(done[0, :8, :8], done[0, 0, 0, 0], atol=1e-3)


@pytest.mark.parametrize("severity", [0, 6, 2.5])
def test_a_severity_that_does_not_exist_is_named(severity):
    with pytest.raises(ValueError, match=rf"severity={severity}: expected a whole number from 1"):
        CORRUPTIONS["contrast"](keys_of(), PHOTOS, severity)
