"""Convolutions by native code are those of XLA, and so are their gradients."""

import os
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import MODELS, create_train_state, make_optimizer
from jaxcnn.core.cpu import convolution
from jaxcnn.core.step import make_gradients
from jaxcnn.native.convolution import convolve
from jaxcnn.native.formulations import native_formulations
from jaxcnn.native.library import available
from tests.core.test_cpu import CONVOLUTIONS, LAYOUT, assert_equal, stock, value_and_gradients
from tests.processes import finish, start
from tests.steps import leaves

pytestmark = pytest.mark.skipif(not available(), reason="no C++ compiler here")

native = partial(convolution, convolve=convolve)


def images(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def kernel_of(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def calls(function, *arguments):
    """How many convolutions by native code a program has."""
    text = jax.jit(function).lower(*arguments).as_text()
    return text.count("@jaxcnn_convolve") + text.count("@jaxcnn_depthwise(")


# One vector and less, several, what is no multiple of one, and more than a tile is wide.
CHANNELS = [(3, 16), (1, 5), (16, 16), (6, 40), (33, 48), (20, 85)]


@pytest.mark.parametrize(
    ("channels", "shape", "kernel_size", "strides", "padding"),
    [
        *((channels, *CONVOLUTIONS[0]) for channels in CHANNELS),
        *((CHANNELS[k % 6], *given) for k, given in enumerate(CONVOLUTIONS[1:])),
    ],
)
def test_a_convolution_and_its_gradients_are_those_of_xla(
    channels, shape, kernel_size, strides, padding
):
    x = images(min(shape[0], 9), *shape[1:], channels[0])
    kernel = kernel_of(kernel_size, kernel_size, *channels)
    found, expected = (
        value_and_gradients(lambda x, k, f=f: f(x, k, strides, padding), x, kernel)
        for f in (native, stock)
    )
    assert_equal(found, expected, 8e-6)


def stock_depthwise(x, kernel, strides, padding):
    padding = [(padding, padding)] * 2 if isinstance(padding, int) else padding
    return jax.lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=LAYOUT, feature_group_count=x.shape[-1]
    )


@pytest.mark.parametrize(
    ("channels", "shape", "kernel_size", "strides", "padding"),
    [
        *((channels, *CONVOLUTIONS[1]) for channels in (2, 3, 16, 17, 40)),
        *((5 + 14 * (k % 2), *given) for k, given in enumerate(CONVOLUTIONS)),
        (18, (3, 20, 21), 9, (1, 1), "SAME"),
    ],
)
def test_a_convolution_of_each_channel_and_its_gradients_are_those_of_xla(
    channels, shape, kernel_size, strides, padding
):
    x = images(min(shape[0], 9), *shape[1:], channels)
    kernel = kernel_of(kernel_size, kernel_size, 1, channels)
    found, expected = (
        value_and_gradients(lambda x, k, f=f: f(x, k, strides, padding), x, kernel)
        for f in (native, stock_depthwise)
    )
    assert_equal(found, expected, 8e-6)


@pytest.mark.parametrize(
    ("strides", "padding", "dtype", "expected"),
    [
        ((1, 1), "SAME", jnp.float32, 1),
        ((1, 1), "VALID", jnp.float32, 1),
        ((2, 2), ((1, 1), (1, 1)), jnp.float32, 1),
        ((2, 1), "SAME", jnp.float32, 1),
        ((1, 1), ((3, 0), (0, 0)), jnp.float32, 0),
        ((1, 1), "SAME", jnp.bfloat16, 0),
    ],
)
def test_what_native_code_does_not_take_is_left_to_xla(strides, padding, dtype, expected):
    x, kernel = jnp.asarray(images(2, 8, 8, 4), dtype), jnp.asarray(kernel_of(3, 3, 4, 8), dtype)
    assert calls(lambda x, k: native(x, k, strides, padding), x, kernel) == expected
    assert calls(native, x, kernel[:1, :1]) == 0
    one_each = kernel[:, :, :1, :4]
    assert calls(lambda x, k: native(x, k, strides, padding), x, one_each) == expected


@pytest.mark.parametrize(("length", "size", "strides"), [(2, 3, 1), (1, 5, 1), (1, 2, 2)])
def test_a_kernel_larger_than_the_image_gives_no_pixels_and_no_gradient(length, size, strides):
    x, kernel = images(2, length, length, 4), kernel_of(size, size, 4, 3)
    found, expected = (
        value_and_gradients(lambda x, k, f=f: f(x, k, (strides, strides), "VALID"), x, kernel)
        for f in (native, stock)
    )
    assert [leaf.shape for leaf in found] == [leaf.shape for leaf in expected]
    assert not np.any(found[1]) and not np.any(found[2])


def test_arrays_of_numpy_and_types_of_64_bits_are_taken():
    x, kernel = images(3, 6, 6, 4), kernel_of(3, 3, 4, 5)
    expected = stock(x, kernel, (1, 1), "SAME")
    found = jax.jit(lambda k: jax.vmap(lambda x: native(x[None], k)[0])(x))(kernel)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    with jax.enable_x64(True):
        exact = jax.jit(native)(x.astype(np.float64), kernel.astype(np.float64))
        assert exact.dtype == np.float64
        np.testing.assert_allclose(jax.jit(native)(x, kernel), exact, atol=1e-5)


def test_large_images_and_kernels_are_cut_into_tasks():
    """Rows of one image, and the channels of one kernel's gradient, by several threads."""
    for x, kernel in (
        (images(2, 160, 150, 24), kernel_of(3, 3, 24, 16)),
        (images(2, 6, 5, 300), kernel_of(3, 3, 300, 500)),
    ):
        found, expected = (
            value_and_gradients(lambda x, k, f=f: f(x, k), x, kernel)
            for f in (native, partial(stock, strides=(1, 1), padding="SAME"))
        )
        assert_equal(found, expected, 2e-5)


def test_what_is_not_finite_reaches_the_pixels_that_see_it_and_no_others():
    x = images(2, 8, 8, 4)
    x[0, 3, 3, 0], x[1, 7, 7, 3] = np.nan, np.inf
    kernel = kernel_of(3, 3, 4, 8)
    found = jax.jit(native)(x, kernel)
    expected = stock(x, kernel, (1, 1), "SAME")
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))
    assert np.isfinite(found).sum() == found.size - 8 * (9 + 4)


def test_gradients_of_gradients_are_those_of_xla():
    x = images(3, 8, 8, 4)

    def squares_of_gradients(f, strides, x, kernel):
        def loss(x, kernel):
            return (f(x, kernel, strides, "SAME") ** 3).mean()

        return sum((g**2).sum() for g in jax.grad(loss, (0, 1))(x, kernel))

    for strides in ((1, 1), (2, 2), (2, 1)):
        for kernel, ours, theirs in (
            (kernel_of(3, 3, 4, 6), native, stock),
            (kernel_of(3, 3, 1, 4), native, stock_depthwise),
        ):
            found, expected = (
                jax.jit(jax.grad(partial(squares_of_gradients, f, strides), (0, 1)))(x, kernel)
                for f in (ours, theirs)
            )
            assert_equal(found, expected, 3e-5)


def test_members_of_a_population_have_gradients_of_their_own():
    x, kernels = images(3, 8, 8, 4), kernel_of(5, 3, 3, 4, 6)

    def slope(x, kernel):
        return jax.grad(lambda k: (native(x, k) ** 2).sum())(kernel)

    found = jax.jit(jax.vmap(slope, (None, 0)))(x, kernels)
    for member, kernel in zip(found, kernels, strict=True):
        np.testing.assert_array_equal(member, jax.jit(slope)(x, kernel))


@pytest.mark.parametrize("name", ["cnn", "resnet20_cifar", "vgg11", "convnext_cifar"])
def test_gradients_of_whole_nets_are_those_of_the_model_as_it_is(name):
    model = MODELS[name](num_classes=10)
    tx = make_optimizer("sgd", 0.1)
    state = create_train_state(model, tx, jax.random.key(0), (32, 32, 3))
    batch = {
        "image": np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), np.uint8),
        "label": np.arange(8, dtype=np.int32),
        "mask": np.arange(8) < 7,
        "index": np.arange(8, dtype=np.int32),
    }
    steps = [make_gradients(model, interceptor=i) for i in (native_formulations, None)]
    assert calls(steps[0], state, batch) > 0
    (found, _, told), (expected, _, plain) = (jax.jit(step)(state, batch) for step in steps)
    np.testing.assert_allclose(told["loss"], plain["loss"], rtol=1e-5)
    # Of a whole net in float32, rounding alone is up to 4e-3 of a single array.
    for key, leaf in leaves(expected).items():
        np.testing.assert_allclose(
            leaves(found)[key], leaf, rtol=0, atol=1e-2 * np.abs(leaf).max(), err_msg=key
        )


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="has one core")
def test_neither_threads_nor_repetition_change_a_bit():
    """A run that is resumed with more or fewer free cores ends in the same bits."""
    code = """
import hashlib, os, sys
os.sched_setaffinity(0, list(os.sched_getaffinity(0))[:int(sys.argv[1])])
import jax, numpy as np
from jaxcnn.core.cpu import Window
from jaxcnn.native.convolution import convolve
from jaxcnn.native.library import available
assert available()
random = np.random.default_rng(0)
x = random.normal(size=(40, 16, 16, 24)).astype(np.float32)
k = random.normal(size=(3, 3, 24, 40)).astype(np.float32)
pads = ((1, 1), (1, 1))
loss = lambda x, k: (convolve(x, k, Window((1, 1), pads)) ** 2).sum()
both = jax.jit(jax.value_and_grad(loss, (0, 1)))
for _ in range(3):
    found = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(both(x, k)[1])]
    print(hashlib.sha256(b"".join(found)).hexdigest())
"""
    processes = [
        start([sys.executable, "-c", code, str(threads)], fresh=True) for threads in (1, 2)
    ]
    told = [finish(process) for process in processes]
    hashes = [line for _, stdout, _ in told for line in stdout.split()]
    assert len(hashes) == 6, told
    assert len(set(hashes)) == 1
