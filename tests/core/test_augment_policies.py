"""RandAugment and TrivialAugment: each operation alone does what its name says."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageOps

from jaxcnn.core.augment.policies import OPERATIONS, Ranges, _apply, randaugment, trivialaugment
from tests.core.test_augment_battery import keys_of, make_batch

RANGES = Ranges(0.3, 5.0, 5.0, 90.0, 0.9, 4.0)


@pytest.fixture(scope="module")
def image():
    return make_batch(height=24, width=24)["image"]


@partial(jax.jit, static_argnums=4)
def apply(image, which, strength, sign, ranges):
    return _apply(image, which, strength, sign, ranges)


def alone(image, name, strength=1.0, sign=1.0):
    """The image after one operation, for all examples alike."""
    shape = (1, len(image))
    which = jnp.full(shape, OPERATIONS.index(name))
    return np.asarray(apply(image, which, jnp.full(shape, strength), jnp.full(shape, sign), RANGES))


@pytest.mark.parametrize("name", OPERATIONS)
def test_at_strength_0_what_has_a_strength_changes_nothing(image, name):
    changed = alone(image, name, 0.0)
    if name in ("autocontrast", "equalize"):
        assert (changed != image).any()
    else:
        np.testing.assert_array_equal(changed, image)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("posterize", lambda one: ImageOps.posterize(one, 4)),
        ("solarize", lambda one: ImageOps.solarize(one, 0)),
        ("rotate", lambda one: one.rotate(90)),
        ("autocontrast", ImageOps.autocontrast),
        ("identity", lambda one: one),
    ],
)
def test_at_full_strength_it_is_pillows(image, name, expected):
    expected = np.stack([np.asarray(expected(Image.fromarray(one))) for one in np.asarray(image)])
    np.testing.assert_allclose(alone(image, name), expected, atol=1.01)


def test_translations_move_along_their_axis(image):
    moved = alone(image, "translate_x")
    np.testing.assert_array_equal(moved[:, :, 5:], image[:, :, :-5])
    moved = alone(image, "translate_y", sign=-1.0)
    np.testing.assert_array_equal(moved[:, :-5], image[:, 5:])


def test_shears_slant_along_their_axis(image):
    for name, axis in (("shear_x", 2), ("shear_y", 1)):
        slanted = alone(image, name)
        lines = np.moveaxis(slanted, axis, 1), np.moveaxis(np.asarray(image), axis, 1)
        # The line nearest to the centre moves by less than a fifth of a pixel, the others by more.
        moved = np.abs(lines[0] - lines[1])
        centre = moved.take(11, axis=2).mean()
        assert centre < moved.take(20, axis=2).mean()


def test_examples_that_drew_different_operations_do_not_disturb_one_another(image):
    which = jnp.arange(16)[None] % len(OPERATIONS)
    one = jnp.ones((1, 16))
    together = np.asarray(apply(image, which, one, one, RANGES))
    for k in range(len(OPERATIONS)):
        np.testing.assert_allclose(together[k], alone(image, OPERATIONS[k])[k], atol=1e-3)


def test_two_rounds_apply_both(image):
    which = jnp.stack([jnp.full(16, OPERATIONS.index(n)) for n in ("rotate", "solarize")])
    one = jnp.ones((2, 16))
    both = np.asarray(apply(image, which, one, one, RANGES))
    np.testing.assert_allclose(both, 255 - alone(image, "rotate"), atol=1e-3)


def test_all_operations_are_drawn_alike_often():
    """At full strength; read from which images stay as they are: identity, and few others."""
    batch = jnp.concatenate([make_batch()["image"]] * 40)
    changed = np.asarray(jax.jit(trivialaugment)(keys_of(0, 640), batch)) != np.asarray(batch)
    kept = 1 - changed.any((1, 2, 3)).mean()
    assert 0.05 < kept < 0.3  # 1/14, and strengths near 0


def test_without_magnitude_only_histograms_change(image):
    many = jnp.concatenate([image] * 20)
    changed = np.asarray(
        jax.jit(randaugment, static_argnums=(2, 3))(keys_of(0, 320), many, 1, 0.0)
    ) != np.asarray(many)
    assert abs(changed.any((1, 2, 3)).mean() - 2 / 14) < 0.08
