"""Batch norm by native code is Flax's, and so are its gradients and running averages."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.core.rules import Rule
from jaxcnn.core.step import make_gradients
from jaxcnn.native.batch_norm import batch_norm, channel_sums
from jaxcnn.native.formulations import native_formulations
from jaxcnn.native.library import available
from tests.core.test_cpu import assert_equal, net
from tests.steps import leaves

pytestmark = pytest.mark.skipif(not available(), reason="no C++ compiler here")

EPSILON = 0.1  # rounding is not blown up where two pixels are all
# One vector and less, several and a rest, one pixel, more pixels than are summed at once.
SHAPES = [(4, 6, 6, 16), (3, 5, 7, 37), (2, 3), (1, 8), (16, 32, 32, 8), (40, 40, 64)]


def numbers(*shape):
    """Not centred, and of another spread in each channel."""
    random = np.random.default_rng(0)
    return (random.normal(size=shape) * (1 + np.arange(shape[-1]) % 5) + 2).astype(np.float32)


def as_defined(x, scale, bias, epsilon):
    axes = tuple(range(x.ndim - 1))
    mean, variance = x.mean(axes), x.var(axes)
    return (x - mean) / jnp.sqrt(variance + epsilon) * scale + bias, mean, variance


@pytest.mark.parametrize("shape", SHAPES)
def test_sums_are_those_of_every_channel(shape):
    a, b, shift = numbers(*shape), numbers(*shape)[::-1], np.arange(shape[-1], dtype=np.float32)
    axes = tuple(range(len(shape) - 1))
    exact = a.astype(np.float64)
    expected = exact.sum(axes), (exact * (b - shift)).sum(axes)
    found = jax.jit(channel_sums)(a, b, shift)
    scale = np.abs(exact).sum(axes), np.abs(exact * (b - shift)).sum(axes)
    assert (np.abs(found - np.stack(expected)) <= 1e-6 * np.stack(scale)).all()


@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_as_defined_in_float64(shape):
    x, scale, bias = numbers(*shape), numbers(shape[-1]), numbers(shape[-1])

    def slopes(f, *arguments):
        def loss(*arguments):
            y, mean, variance = f(*arguments, EPSILON)
            weights = jnp.sin(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)
            return (y * weights).sum() + jnp.sin(mean).sum() + (variance**2).sum() / 50

        return f(*arguments, EPSILON), jax.grad(loss, (0, 1, 2))(*arguments)

    found = jax.jit(partial(slopes, batch_norm))(x, scale, bias)
    with jax.enable_x64(True):
        exact = [value.astype(np.float64) for value in (x, scale, bias)]
        expected = jax.jit(partial(slopes, as_defined))(*exact)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        error = 3e-5 * max(1, np.abs(other).max())
        np.testing.assert_allclose(one, other, rtol=0, atol=error)


def test_gradients_of_gradients_are_as_defined():
    x, scale, bias = numbers(3, 4, 4, 5), numbers(5), numbers(5)

    def squares(f, x, scale):
        def loss(x, scale):
            return (f(x, scale, bias, EPSILON)[0] ** 3).mean()

        return sum((slope**2).sum() for slope in jax.grad(loss, (0, 1))(x, scale))

    found, expected = (
        jax.jit(jax.grad(partial(squares, f), (0, 1)))(x, scale) for f in (batch_norm, as_defined)
    )
    assert_equal(found, expected, 1e-3)


class Norm(nn.Module):
    keywords: dict
    train: bool = True

    @nn.compact
    def __call__(self, x):
        return nn.BatchNorm(use_running_average=not self.train, **self.keywords)(x)


def calls(function, *arguments):
    return jax.jit(function).lower(*arguments).as_text().count("@jaxcnn_channel_sums")


@pytest.mark.parametrize(
    ("keywords", "native"),
    [
        ({}, 1),
        ({"momentum": 0.5, "epsilon": 1e-3}, 1),
        ({"use_bias": False}, 1),
        ({"use_scale": False, "use_bias": False}, 1),
        ({"axis": 3}, 1),
        ({"axis": 1}, 0),
        ({"use_fast_variance": False}, 0),
        ({"dtype": jnp.bfloat16}, 0),
    ],
    ids=str,
)
def test_a_layer_gives_what_flax_does_and_keeps_the_same_averages(keywords, native):
    x, layer = numbers(8, 6, 6, 6), Norm(keywords)
    variables = layer.init(jax.random.key(0), x)

    def train(x):
        return layer.apply(variables, x, mutable=["batch_stats"])

    def intercepted(x):
        with nn.intercept_methods(native_formulations):
            return train(x)

    assert calls(intercepted, x) == native
    assert_equal(jax.jit(intercepted)(x), jax.jit(train)(x), 2e-6)


def test_a_layer_without_scale_stays_float32_among_64_bits():
    x, layer = numbers(8, 6, 6, 6), Norm({"use_scale": False, "dtype": jnp.float32})
    with jax.enable_x64(True):
        variables = layer.init(jax.random.key(0), x)
        with nn.intercept_methods(native_formulations):
            y, _ = jax.jit(partial(layer.apply, mutable=["batch_stats"]))(variables, x)
    assert y.dtype == np.float32


def test_a_layer_whose_averages_are_missing_begins_them_as_flax_does():
    x, layer = numbers(8, 6, 6, 6), Norm({})
    params = {"params": layer.init(jax.random.key(0), x)["params"]}
    expected = layer.apply(params, x, mutable=["batch_stats"])
    with nn.intercept_methods(native_formulations):
        assert_equal(layer.apply(params, x, mutable=["batch_stats"]), expected, 2e-6)


def test_a_layer_that_evaluates_sums_nothing():
    x, layer = numbers(4, 6, 6, 6), Norm({}, train=False)
    variables = layer.init(jax.random.key(0), x)

    def evaluate(x):
        with nn.intercept_methods(native_formulations):
            return layer.apply(variables, x)

    assert calls(evaluate, x) == 0


def test_statistics_that_a_rule_freezes_stay():
    model, _, state, batch = net("resnet20_cifar", jnp.float32)
    rules = [Rule(".*", freeze_statistics=True)]
    found, expected = (
        jax.jit(make_gradients(model, interceptor=interceptor, rules=rules))(state, batch)
        for interceptor in (native_formulations, None)
    )
    assert_equal(found[1], expected[1], 0)
    for key, leaf in leaves(expected[0]).items():
        error = 1e-2 * np.abs(leaf).max()
        np.testing.assert_allclose(leaves(found[0])[key], leaf, rtol=0, atol=error, err_msg=key)
