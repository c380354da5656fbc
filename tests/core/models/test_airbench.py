"""The airbench nets: their sizes, the whitening, and the start as an identity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.core.explain import first_layer_filters
from jaxcnn.core.models import MODELS
from jaxcnn.core.models.airbench import dirac, whitening_weights
from tests.core.models.training import assert_learns
from tests.core.test_models import count, shapes, some_variables, train_logits


def parameters(widths, convs):
    """By hand, with the whitening's kernel, of 2x2 pixels of 3 channels and their negations."""
    whitening, head = 12 * 24 + 24, 10 * widths[-1]
    first = sum(9 * a * b for a, b in zip((24, *widths), widths, strict=False))
    others = sum((convs - 1) * 9 * width * width for width in widths)
    biases = sum(convs * width for width in widths)
    return whitening + first + others + biases + head


# Widths of the scripts airbench94.py, airbench95.py and airbench96.py of the paper; it gives 1.97
# million parameters for the first.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("airbench94", parameters((64, 256, 256), 2)),
        ("airbench95", parameters((128, 384, 384), 2)),
        ("airbench96", parameters((128, 512, 512), 3)),
    ],
)
def test_an_airbench_net_has_the_parameters_of_its_paper(name, expected):
    variables = shapes(MODELS[name](num_classes=10), size=32)
    kernel = variables["batch_stats"]["whitening"]["kernel"]
    assert kernel.shape == (2, 2, 3, 24)
    assert count(variables["params"]) + count(kernel) == expected
    assert name != "airbench94" or expected == 1_971_640


def some_images(seed=0, number=64, channels=3, size=12):
    """Smooth random images: neighbouring pixels are alike, as in photos."""
    noise = np.random.default_rng(seed).normal(size=(number, size + 3, size + 3, channels))
    smooth = sum(noise[:, i : i + size, j : j + size] for i in range(4) for j in range(4))
    return (smooth + smooth.mean(-1, keepdims=True)).astype(np.float32)


def whitened(images, kernel):
    layout = ("NHWC", "HWIO", "NHWC")
    y = jax.lax.conv_general_dilated(images, kernel, (1, 1), "VALID", dimension_numbers=layout)
    return np.asarray(y, np.float64).reshape(-1, kernel.shape[-1])


@given(seed=st.integers(0, 2**32 - 1), channels=st.integers(1, 3), kernel_size=st.integers(1, 3))
@settings(max_examples=8, deadline=None)
def test_whitened_patches_are_not_correlated_and_of_variance_1(seed, channels, kernel_size):
    images = some_images(seed, channels=channels)
    kernel = whitening_weights(images, kernel_size, epsilon=0.0)
    half = kernel_size * kernel_size * channels
    assert kernel.shape == (kernel_size, kernel_size, channels, 2 * half)
    y = whitened(images, kernel)
    np.testing.assert_allclose(y[:, :half].T @ y[:, :half] / len(y), np.eye(half), atol=2e-3)
    np.testing.assert_array_equal(kernel[..., half:], -kernel[..., :half])


def test_the_first_component_varies_most_and_epsilon_damps_the_last():
    images = some_images()
    y = whitened(images, whitening_weights(images, epsilon=0.5))
    variances = (y[:, :12] ** 2).mean(0)
    assert (np.diff(variances) <= 1e-6).all()
    assert 0.9 < variances[0] < 1
    assert variances[-1] < 0.7


def test_whitening_needs_no_order_of_images_and_stands_black_ones():
    images = some_images(number=300)  # more than are worked on at once
    kernel = whitening_weights(images)
    np.testing.assert_allclose(whitening_weights(images[::-1]), kernel, rtol=1e-3, atol=1e-4)
    assert np.isfinite(whitening_weights(np.zeros_like(images[:2]))).all()


def test_the_whitening_comes_from_the_data_and_nothing_else_does():
    model = MODELS["airbench94"](num_classes=10, widths=(5, 6))
    variables, images = some_variables(model), some_images()
    before = jax.tree.map(np.copy, variables)
    after = model.init_from_data(variables, images)
    kernel = after["batch_stats"]["whitening"]["kernel"]
    np.testing.assert_array_equal(kernel, whitening_weights(images))
    after["batch_stats"]["whitening"] = before["batch_stats"]["whitening"]
    jax.tree.map(np.testing.assert_array_equal, after, before)
    jax.tree.map(np.testing.assert_array_equal, variables, before)  # and is left as it was


def test_training_does_not_change_the_whitening():
    model = MODELS["airbench94"](num_classes=10, widths=(5, 6))
    variables = some_variables(model)
    _, updates = train_logits(model, variables)
    before = variables["batch_stats"]["whitening"]["kernel"]
    np.testing.assert_array_equal(updates["batch_stats"]["whitening"]["kernel"], before)
    assert "kernel" not in variables["params"]["whitening"]


def test_the_filters_of_the_first_layer_are_those_of_the_whitening():
    model = MODELS["airbench94"](num_classes=10, widths=(5, 6))
    variables = some_variables(model)
    found = first_layer_filters(model, variables, jnp.zeros((1, 8, 8, 3)))
    np.testing.assert_array_equal(found, variables["batch_stats"]["whitening"]["kernel"])


@pytest.mark.parametrize(("channels_in", "channels_out"), [(3, 5), (5, 3), (4, 4)])
def test_a_dirac_kernel_passes_its_inputs_on(channels_in, channels_out):
    kernel = dirac(jax.random.key(0), (3, 3, channels_in, channels_out))
    assert kernel.shape == (3, 3, channels_in, channels_out)
    alike = min(channels_in, channels_out)
    identity = np.zeros((3, 3, channels_in, alike))
    identity[1, 1, range(alike), range(alike)] = 1
    np.testing.assert_array_equal(kernel[..., :alike], identity)
    rest = np.asarray(kernel[..., alike:])
    assert (np.abs(rest) <= 1 / np.sqrt(9 * channels_in)).all()  # PyTorch's default
    assert rest.size == 0 or rest.std() > 0


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_two_steps_lower_the_loss(dtype):
    assert_learns(MODELS["airbench94"](num_classes=10, widths=(16, 24)), dtype, learning_rate=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", ["airbench94", "airbench96"])
def test_two_steps_lower_the_loss_of_a_whole_network(name, dtype):
    assert_learns(MODELS[name](num_classes=10), dtype, learning_rate=0.1)


WRONG = [
    ({"widths": (4,) * 3}, r"widths=\(4, 4, 4\): 3 stages need an image of 9x9 pixels, it has 8x8"),
    ({"widths": (0,)}, r"widths=\(0,\): expected whole numbers from 1"),
    ({"momentum": 1.5}, r"momentum=1.5: expected a share"),
    ({"convs_per_stage": 1, "shortcut": True}, r"convs_per_stage=1: with shortcut"),
    ({"activation": "glue"}, r"activation='glue'.*gelu_exact"),
]


@pytest.mark.parametrize(("keywords", "message"), WRONG, ids=str)
def test_a_wrong_value_is_quoted_with_its_key(keywords, message):
    with pytest.raises(ValueError, match=message):
        shapes(MODELS["airbench94"](num_classes=10, **{"widths": (5, 6)} | keywords))
