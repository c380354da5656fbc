"""Cross-entropy is Optax's, one number an example."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn.core.losses import balanced_weights, cross_entropy, focal


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


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_soft_label_of_one_class_costs_what_the_class_costs(scores, smoothing):
    logits, label = scores
    weights = tuple(range(1, 8))
    for class_weights in (None, weights):
        given = {"label_smoothing": smoothing, "class_weights": class_weights}
        soft = cross_entropy(logits, jax.nn.one_hot(label, 7), **given)
        np.testing.assert_allclose(soft, cross_entropy(logits, label, **given), rtol=1e-5)


def test_soft_labels_equal_optax(scores):
    logits, _ = scores
    target = jax.nn.softmax(jnp.flip(logits, 1))
    expected = optax.softmax_cross_entropy(logits, target)
    np.testing.assert_allclose(cross_entropy(logits, target), expected, rtol=1e-5)


def test_class_weights_weigh_each_class_of_the_target(scores):
    logits, label = scores
    weights = np.array([0.0, 1, 2, 3, 4, 5, 0.5])
    log_p = np.asarray(jax.nn.log_softmax(logits), np.float64)
    loss = cross_entropy(logits, label, class_weights=weights)
    np.testing.assert_allclose(loss, -weights[label] * log_p[range(32), label], rtol=1e-5)
    target = np.asarray(jax.nn.softmax(jnp.flip(logits, 1)))
    smoothed = 0.9 * target + 0.1 / 7
    loss = cross_entropy(logits, target, label_smoothing=0.1, class_weights=weights)
    np.testing.assert_allclose(loss, -(smoothed * weights * log_p).sum(-1), rtol=1e-5)


def test_weights_of_another_number_of_classes_are_refused(scores):
    with pytest.raises(ValueError, match="2 class weights for 7 classes"):
        cross_entropy(*scores, class_weights=(1.0, 2.0))


def test_balanced_weights_are_scikit_learns_and_keep_the_mean():
    from sklearn.utils.class_weight import compute_class_weight

    counts = np.array([50, 3, 1, 20])
    labels = np.repeat(np.arange(4), counts)
    weights = balanced_weights(counts)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    np.testing.assert_allclose(weights, expected)
    np.testing.assert_allclose(weights[labels].mean(), 1)
    with_empty = balanced_weights(np.array([50, 0, 3, 1, 20]))
    np.testing.assert_allclose(with_empty, np.insert(weights, 1, 0.0))


def test_huge_logits_stay_finite():
    logits = jnp.array([[1e4, -1e4, 0.0], [1e4, -1e4, 0.0]])
    label = jnp.array([0, 1])
    np.testing.assert_allclose(cross_entropy(logits, label), [0.0, 2e4])
    gradient = jax.grad(lambda x: cross_entropy(x, label).sum())(logits)
    assert jnp.isfinite(gradient).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weights", [None, (1, 2, 3, 4, 5, 6, 7)])
@pytest.mark.parametrize("soft", [False, True])
def test_focal_loss_without_focus_is_cross_entropy(scores, smoothing, weights, soft):
    logits, label = scores
    if soft:
        label = 0.3 * jax.nn.one_hot(label, 7) + 0.7 * jax.nn.one_hot(label[::-1], 7)
    given = {"label_smoothing": smoothing, "class_weights": weights}
    expected = cross_entropy(logits, label, **given)
    np.testing.assert_allclose(focal(logits, label, gamma=0.0, **given), expected, rtol=1e-5)


def test_focal_loss_is_the_formula_of_the_paper(scores):
    logits, label = scores
    p = np.take_along_axis(np.asarray(jax.nn.softmax(logits)), np.asarray(label)[:, None], 1)[:, 0]
    np.testing.assert_allclose(focal(logits, label), -((1 - p) ** 2) * np.log(p), rtol=2e-4)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_of_what_is_certain_has_a_finite_gradient(gamma):
    logits = jnp.array([[100.0, -100.0], [-100.0, 100.0]])
    gradient = jax.grad(lambda x: focal(x, jnp.array([0, 0]), gamma=gamma).sum())(logits)
    assert jnp.isfinite(gradient).all()
    assert (gradient[0] == 0).all() and gradient[1, 0] < 0
