"""Cross-entropy is Optax's, one number an example."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn.core.losses import cross_entropy


@pytest.fixture(scope="module")
def scores():
    """(logits float32[32, 7], label int32[32])"""
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (32, 7)).astype(np.float32)
    return jnp.asarray(logits), jnp.asarray(random.integers(0, 7, 32, np.int32))


def test_without_smoothing_it_equals_optax(scores):
    expected = optax.softmax_cross_entropy_with_integer_labels(*scores)
    np.testing.assert_allclose(cross_entropy(*scores), expected, rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.1, 0.5, 0.9])
def test_with_smoothing_it_equals_optax(scores, smoothing):
    logits, label = scores
    target = optax.smooth_labels(jax.nn.one_hot(label, 7), smoothing)
    loss = cross_entropy(logits, label, label_smoothing=smoothing)
    np.testing.assert_allclose(loss, optax.softmax_cross_entropy(logits, target), rtol=1e-5)


def test_it_gives_one_float32_an_example(scores):
    loss = cross_entropy(*scores)
    assert loss.shape == (32,)
    assert loss.dtype == jnp.float32


def test_an_example_does_not_depend_on_its_neighbours(scores):
    logits, label = scores
    alone = cross_entropy(logits[5:6], label[5:6], label_smoothing=0.1)
    together = cross_entropy(logits, label, label_smoothing=0.1)
    np.testing.assert_allclose(alone[0], together[5], rtol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_equal_logits_cost_the_logarithm_of_the_number_of_classes(smoothing):
    loss = cross_entropy(jnp.full((3, 10), 2.5), jnp.arange(3), label_smoothing=smoothing)
    np.testing.assert_allclose(loss, np.log(10), rtol=1e-6)


def test_the_gradient_is_probability_minus_target(scores):
    logits, label = scores
    gradient = jax.grad(lambda x: cross_entropy(x, label).sum())(logits)
    expected = jax.nn.softmax(logits) - jax.nn.one_hot(label, 7)
    np.testing.assert_allclose(gradient, expected, atol=1e-6)


def test_huge_logits_stay_finite():
    logits = jnp.array([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0]])
    label = jnp.array([0, 1])
    np.testing.assert_allclose(cross_entropy(logits, label), [0.0, 2e4])
    gradient = jax.grad(lambda x: cross_entropy(x, label).sum())(logits)
    assert jnp.isfinite(gradient).all()
