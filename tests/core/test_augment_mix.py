"""MixUp and CutMix: the labels' shares are the images'."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxcnn import compose
from jaxcnn.core.augment.mix import cutmix, mixup, swap_neighbours, symmetric_beta
from tests.core.test_augment_battery import keys_of, make_batch

SWAPPED = np.arange(16).reshape(-1, 2)[:, ::-1].ravel()


def test_the_partner_is_the_neighbour():
    np.testing.assert_array_equal(swap_neighbours(jnp.arange(6)), [1, 0, 3, 2, 5, 4])
    with pytest.raises(ValueError, match="a batch of 5"):
        swap_neighbours(jnp.arange(5))


def test_mixup_blends_images_and_labels_by_one_weight():
    batch = make_batch()
    mixed = mixup(keys_of(), batch, 1.0, num_classes=10)
    label = np.asarray(mixed["label"])
    weight = label[np.arange(16), batch["label"]]
    assert label.dtype == np.float32 and weight.min() < 0.3 and weight.max() > 0.7
    np.testing.assert_allclose(label.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(label[np.arange(16), batch["label"][SWAPPED]], 1 - weight, atol=1e-6)
    image = np.asarray(batch["image"], np.float32)
    weight = weight[:, None, None, None]
    expected = weight * image + (1 - weight) * image[SWAPPED]
    np.testing.assert_allclose(mixed["image"], expected, atol=1e-3)


def test_cutmix_labels_are_the_exact_shares_of_pixels():
    batch = make_batch()
    batch["image"] = jnp.broadcast_to(
        jnp.arange(16, dtype=jnp.uint8)[:, None, None, None], (16, 20, 28, 3)
    )
    mixed = cutmix(keys_of(), batch, num_classes=10)
    for k in range(16):
        pixels = np.asarray(mixed["image"][k, ..., 0])
        assert set(np.unique(pixels)) <= {k, SWAPPED[k]}
        share = (pixels == k).mean()
        expected = share * np.eye(10)[k % 10] + (1 - share) * np.eye(10)[SWAPPED[k] % 10]
        np.testing.assert_allclose(mixed["label"][k], expected, atol=1e-6)


@pytest.mark.parametrize("operation", [mixup, cutmix])
def test_padding_is_mixed_into_nobody(operation):
    batch = make_batch()
    batch["mask"] = batch["mask"].at[jnp.array([3, 8])].set(False)
    mixed = operation(keys_of(), batch, 1.0, num_classes=10)
    for partner in (2, 9):
        np.testing.assert_array_equal(mixed["image"][partner], batch["image"][partner])
        np.testing.assert_array_equal(mixed["label"][partner], np.eye(10)[partner % 10])
    np.testing.assert_array_equal(mixed["mask"], batch["mask"])


def test_one_mix_after_another_keeps_labels_that_add_to_1():
    batch = make_batch()
    both = compose(
        [lambda k, b: mixup(k, b, 1.0, num_classes=10), lambda k, b: cutmix(k, b, num_classes=10)]
    )(keys_of(), batch)
    np.testing.assert_allclose(both["label"].sum(1), 1, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 1.0, 4.0])
def test_weights_follow_the_beta_distribution(alpha):
    unit, angle = jax.random.uniform(jax.random.key(0), (2, 20000))
    weights = np.asarray(symmetric_beta(unit, angle, alpha))
    assert weights.min() >= 0 and weights.max() <= 1
    steps = np.linspace(0.001, 0.999, 500)
    share_below = np.searchsorted(np.sort(weights), steps) / len(weights)
    np.testing.assert_allclose(share_below, scipy.stats.beta(alpha, alpha).cdf(steps), atol=0.015)


def test_extreme_draws_give_weights_from_0_to_1():
    unit = jnp.array([0.0, 0.0, 1e-7, 0.9999999])
    angle = jnp.array([0.0, 0.5, 0.1, 0.25])
    for alpha in (0.01, 1.0, 100.0):
        weights = symmetric_beta(unit, angle, alpha)
        assert jnp.isfinite(weights).all() and weights.min() >= 0 and weights.max() <= 1
