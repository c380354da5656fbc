"""The formulations for XLA:CPU are the operations they stand for."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import MODELS, create_train_state, make_optimizer, make_train_step
from jaxcnn.core.cpu import convolution, cpu_formulations, max_pool, num_groups
from jaxcnn.core.models.layers import MaxPool
from jaxcnn.core.step import make_gradients
from jaxcnn.runtime.compile import compile_step, formulations
from jaxcnn.runtime.mesh import make_parallel
from tests.steps import leaves

LAYOUT = ("NHWC", "HWIO", "NHWC")
EXACT = {np.float32: 8e-6, np.float64: 1e-12}

# (images, height, width), kernel size, strides, padding
CONVOLUTIONS = [
    ((32, 32, 32), 3, (1, 1), "SAME"),  # in groups of the batch
    ((64, 16, 18), 5, (1, 1), ((2, 2), (2, 2))),
    ((16, 17, 16), 7, (2, 1), ((3, 3), (3, 3))),
    ((25, 16, 16), 3, (1, 1), "SAME"),  # no number of groups divides 25
    ((4, 9, 12), 3, (1, 1), "VALID"),  # too small for groups
    ((16, 16, 16), 3, (2, 2), "SAME"),  # in blocks and groups
    ((3, 8, 10), 3, (2, 2), ((1, 1), (1, 1))),
    ((3, 8, 10), 3, (2, 2), ((0, 0), (1, 0))),
    ((3, 8, 10), 3, (2, 2), "VALID"),
    ((3, 9, 12), 3, (2, 2), "SAME"),  # an odd side: no blocks
    ((3, 8, 8), 3, (2, 2), ((2, 1), (0, 3))),  # more zeros than blocks take
    ((3, 8, 8), 2, (2, 2), "VALID"),
    ((3, 9, 9), 3, (3, 3), "VALID"),
    ((3, 8, 9), 1, (1, 1), "SAME"),  # matrix products
    ((3, 8, 9), 1, (2, 2), "SAME"),
    ((16, 16, 16), 1, (2, 3), "VALID"),
    ((3, 8, 8), 1, (1, 1), ((1, 1), (0, 0))),
    ((3, 8, 8), 1, (1, 1), 1),
]


def stock(x, kernel, strides, padding):
    padding = [(padding, padding)] * 2 if isinstance(padding, int) else padding
    return jax.lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=LAYOUT)


def stock_pool(x):
    return nn.max_pool(x, (2, 2), (2, 2))


def value_and_gradients(function, *arguments):
    """The value, and the gradients of its product with some numbers."""

    @jax.jit
    def both(*arguments):
        value, transpose = jax.vjp(function, *arguments)
        weights = jnp.sin(jnp.arange(value.size, dtype=value.dtype)).reshape(value.shape)
        return value, *transpose(weights)

    return both(*arguments)


def assert_equal(found, expected, exact):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_allclose(one, other, rtol=0, atol=exact * np.abs(other).max())


@pytest.mark.parametrize("dtype", EXACT)
@pytest.mark.parametrize(("shape", "kernel_size", "strides", "padding"), CONVOLUTIONS)
def test_a_convolution_and_its_gradients_are_those_of_xla(
    shape, kernel_size, strides, padding, dtype
):
    random = np.random.default_rng(0)
    with jax.enable_x64(dtype is np.float64):
        x = random.normal(size=(*shape, 8)).astype(dtype)
        kernel = random.normal(size=(kernel_size, kernel_size, 8, 5)).astype(dtype)
        found, expected = (
            value_and_gradients(lambda x, k, f=f: f(x, k, strides, padding), x, kernel)
            for f in (convolution, stock)
        )
        assert_equal(found, expected, EXACT[dtype])


def test_a_convolution_in_bfloat16_is_rounded_once():
    """Sums of rounded sums over groups would lose two digits of three."""
    random = np.random.default_rng(0)
    x = jnp.asarray(random.normal(size=(16, 32, 32, 8)), jnp.bfloat16)
    kernel = jnp.asarray(random.normal(size=(3, 3, 8, 4)), jnp.bfloat16)
    found, expected = (
        value_and_gradients(lambda x, k, f=f: f(x, k, (1, 1), "SAME"), x, kernel)
        for f in (convolution, stock)
    )
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == jnp.bfloat16
        np.testing.assert_array_equal(one, other)


def pooled(kind):
    """Images float32[4, 8, 6, 5] for pooling."""
    random = np.random.default_rng(0)
    x = random.normal(size=(4, 8, 6, 5)).astype(np.float32)
    if kind == "ties":
        x = np.maximum(x, 0)  # as after ReLU: whole windows of zeros
    if kind in ("NaN", "NaN and infinity"):
        x[random.random(x.shape) < 0.3] = np.nan
    if kind in ("infinity", "NaN and infinity"):
        x[random.random(x.shape) < 0.4] = -np.inf
        x[random.random(x.shape) < 0.2] = np.inf
    return x


@pytest.mark.parametrize("dtype", [np.float32, np.float64, jnp.bfloat16])
@pytest.mark.parametrize("kind", ["plain", "ties", "NaN", "infinity", "NaN and infinity"])
def test_max_pooling_and_its_gradient_are_those_of_xla_to_the_bit(kind, dtype):
    """The gradient goes to the same one of equal pixels, and of those that are no number."""
    with jax.enable_x64(dtype is np.float64):
        x = jnp.asarray(pooled(kind), dtype)
        found, expected = (value_and_gradients(f, x) for f in (max_pool, stock_pool))
        for one, other in zip(found, expected, strict=True):
            assert one.dtype == other.dtype
            # NumPy does not know that two NaNs of bfloat16 are alike.
            np.testing.assert_array_equal(one.astype(float), other.astype(float))


def test_groups_divide_the_batch_and_hold_eight_images_or_more():
    found = {
        shape: num_groups(shape)
        for shape in [
            (128, 32, 32, 16),
            (128, 16, 16, 16),
            (128, 8, 8, 64),
            (128, 32, 32, 3),
            (100, 32, 32, 16),
            (32, 32, 32, 16),
            (15, 32, 32, 16),
            (0, 32, 32, 16),
        ]
    }
    assert list(found.values()) == [16, 8, 1, 1, 4, 4, 1, 1]


NETS = {
    "cnn": {"filters": (8, 16), "strides": (1, 2), "kernel_size": (3, 5)},
    "resnet20_cifar": {"stage_sizes": (1, 1, 1), "width": 8, "shortcut": "conv"},
    "vgg11": {"width": 8, "grid": 1, "dense": (), "stage_sizes": (1, 1, 2)},
}


def net(name, dtype=jnp.float64):
    """(model, optimiser, state, batch) of a net for 16 images of 16x16 pixels."""
    model = MODELS[name](num_classes=10, dtype=dtype, **NETS[name])
    tx = make_optimizer("sgd", 0.1, momentum=0.9)
    state = jax.jit(partial(create_train_state, model, tx, image_shape=(16, 16, 3)))(
        jax.random.key(0)
    )
    random = np.random.default_rng(0)
    batch = {
        "image": random.integers(0, 256, (16, 16, 16, 3), np.uint8),
        "label": random.integers(0, 10, 16).astype(np.int32),
        "mask": np.arange(16) < 15,
        "index": np.arange(16, dtype=np.int32),
    }
    return model, tx, state, batch


def in_float64(tree):
    return jax.tree.map(
        lambda x: x.astype(np.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )


@pytest.mark.parametrize("name", NETS)
def test_gradients_of_whole_nets_agree_to_ten_digits_in_float64(name):
    with jax.enable_x64(True):
        model, _, state, batch = net(name)
        state = in_float64(state)
        found, expected = (
            jax.jit(make_gradients(model, interceptor=interceptor, normalize=scaled))(state, batch)
            for interceptor in (cpu_formulations, None)
        )
        scale = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected[0]))
        for key, leaf in leaves(expected[0]).items():
            assert leaf.dtype == np.float64
            np.testing.assert_allclose(
                leaves(found[0])[key], leaf, rtol=0, atol=1e-10 * scale, err_msg=key
            )
        np.testing.assert_allclose(found[2]["loss"], expected[2]["loss"], rtol=1e-12)


def scaled(image):
    return image.astype(np.float64) / 255


def lowered(function, *arguments, platform="cpu"):
    return jax.jit(function).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()


def test_the_formulations_take_the_place_of_what_is_slow():
    """Of select-and-scatter, and of the gradients of kernels for all images at once."""
    model, tx, state, batch = net("cnn", jnp.float32)
    plain, fast = (
        lowered(make_train_step(model, tx, interceptor=interceptor), state, batch)
        for interceptor in (None, formulations("cpu", 2))
    )
    assert plain.count("select_and_scatter") == 2
    assert fast.count("select_and_scatter") == 0
    assert fast.count("stablehlo.convolution") > plain.count("stablehlo.convolution")


@pytest.mark.parametrize(("backend", "platform"), [("gpu", "cuda"), ("tpu", "tpu")])
def test_programs_for_accelerators_are_those_of_the_model_as_it_is(backend, platform):
    model, tx, state, batch = net("cnn", jnp.float32)
    chosen = make_train_step(model, tx, interceptor=formulations(backend))
    plain = make_train_step(model, tx)
    texts = [lowered(step, state, batch, platform=platform) for step in (chosen, plain)]
    assert texts[0] == texts[1]
    assert texts[0].count("select_and_scatter") == 2

    x = jnp.ones((2, 8, 8, 3))
    layer = MaxPool((2, 2), (2, 2))
    texts = [
        lowered(pool, x, platform=platform)
        for pool in (lambda x: layer.apply({}, x), lambda x: nn.max_pool(x, (2, 2), (2, 2)))
    ]
    assert texts[0] == texts[1]


def test_what_a_convolution_sees_is_computed_once():
    """Not again for each group of the gradient of its kernel: what the barrier keeps apart."""
    model, tx, state, batch = net("cnn", jnp.float32)
    step = jax.jit(make_train_step(model, tx, interceptor=cpu_formulations))
    assert "opt-barrier(" in compile_step(step, state, batch).as_text()


def test_a_batch_split_over_devices_stays_where_it_is():
    """Groups of neighbours would be sent around."""
    model, tx, state, batch = net("cnn", jnp.float32)
    parallel = make_parallel("jit", 16, jax.devices()[:2])
    step = parallel.transform(make_train_step(model, tx, interceptor=cpu_formulations), donate=True)
    placed = parallel.place_state(state), parallel.place_batch(batch)
    program = step.lower(*placed).compile().as_text()
    assert "all-reduce" in program
    for moving in ("all-gather", "all-to-all", "collective-permute"):
        assert moving not in program


@pytest.mark.parametrize(("mode", "num_devices"), [("jit", 2), ("pmap", 2)])
def test_devices_change_no_more_than_rounding(mode, num_devices):
    """One device and two, the same first step; the trace of the momentum is its gradient."""
    _, tx, state, batch = net("cnn", jnp.float32)
    found = []
    for count in (1, num_devices):
        parallel = make_parallel(mode, 16, jax.devices()[:count])
        axis = parallel.axis_name
        model = MODELS["cnn"](num_classes=10, axis_name=axis, **NETS["cnn"])
        step = make_train_step(model, tx, axis_name=axis, interceptor=cpu_formulations)
        step = parallel.transform(step, donate=False)
        after, _ = step(parallel.place_state(state), parallel.place_batch(batch))
        found.append(jax.tree.leaves(parallel.member(after, 0).opt_state))
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-4 * np.abs(one).max())


def test_members_of_a_population_have_gradients_of_their_own():
    model, _, state, batch = net("cnn", jnp.float32)
    gradients = make_gradients(model, interceptor=cpu_formulations)
    scales = jnp.array([0.5, 1.0, 2.0])

    def of(scale):
        params = jax.tree.map(lambda x: scale * x, state.params)
        return gradients(state.replace(params=params), batch)[0]

    found = jax.jit(jax.vmap(of))(scales)
    for k, scale in enumerate(scales):
        for key, leaf in leaves(jax.jit(of)(scale)).items():
            member = leaves(found)[key][k]
            np.testing.assert_allclose(member, leaf, rtol=0, atol=1e-4 * np.abs(leaf).max())


def test_forward_mode_and_second_derivatives_are_those_of_the_model():
    with jax.enable_x64(True):
        model, _, state, batch = net("cnn")
        variables, image = in_float64(state.variables), scaled(batch["image"][:2])

        def loss(image, interceptor):
            with nn.intercept_methods(interceptor):
                return model.apply(variables, image, train=False).var()

        def both(interceptor):
            slope = jax.grad(partial(loss, interceptor=interceptor))
            return jax.jvp(slope, (image,), (image,))

        found = jax.jit(lambda: both(cpu_formulations))()
        expected = jax.jit(lambda: both(as_it_is))()
        assert_equal(found, expected, 1e-10)


def as_it_is(next_call, arguments, keywords, context):
    return next_call(*arguments, **keywords)


@pytest.mark.parametrize(
    "keywords",
    [
        {"feature_group_count": 2},
        {"kernel_dilation": 2},
        {"input_dilation": 2, "padding": 1},
        {"padding": "CIRCULAR"},
        {"padding": 0, "use_bias": False},
        {"strides": None},
        {"strides": (2, 1), "padding": [(1, 0), 2]},
        {"mask": np.tri(36).reshape(3, 3, 4, 36)[..., :6]},
        {"dtype": jnp.bfloat16},
    ],
    ids=str,
)
def test_a_layer_with_other_keywords_is_what_it_was(keywords):
    layer = nn.Conv(6, (3, 3), **keywords)
    x = np.random.default_rng(0).normal(size=(2, 12, 12, 4)).astype(np.float32)
    variables = layer.init(jax.random.key(0), x)
    with nn.intercept_methods(cpu_formulations):
        found = layer.apply(variables, x)
    expected = layer.apply(variables, x)
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found.astype(float), expected.astype(float))


def test_images_without_a_batch_axis_and_with_two_are_what_they_were():
    layer = nn.Conv(6, (3, 3))
    x = np.random.default_rng(0).normal(size=(2, 3, 8, 8, 4)).astype(np.float32)
    variables = layer.init(jax.random.key(0), x)
    for images in (x, x[0, 0]):
        with nn.intercept_methods(cpu_formulations):
            found = layer.apply(variables, images)
        np.testing.assert_array_equal(found, layer.apply(variables, images))
        with nn.intercept_methods(cpu_formulations):
            found = MaxPool((2, 2), (2, 2)).apply({}, images)
        np.testing.assert_array_equal(found, nn.max_pool(images, (2, 2), (2, 2)))


def test_a_convolution_that_was_told_how_is_left_alone():
    def none(x, kernel, *arguments, **keywords):
        return jnp.zeros((*x.shape[:3], kernel.shape[-1]))

    layer = nn.Conv(6, (3, 3), conv_general_dilated=none)
    x = jnp.ones((2, 8, 8, 4))
    variables = layer.init(jax.random.key(0), x)
    with nn.intercept_methods(cpu_formulations):
        assert not layer.apply(variables, x).any()


@pytest.mark.parametrize("padding", ["SAME", "VALID", ((1, 1), (1, 1))])
@pytest.mark.parametrize(("window_shape", "strides"), [((3, 3), (2, 2)), ((2, 2), None)])
def test_other_poolings_are_what_they_were(window_shape, strides, padding):
    x = jnp.asarray(pooled("ties"))
    layer = MaxPool(window_shape, strides, padding)
    with nn.intercept_methods(cpu_formulations):
        found = value_and_gradients(lambda x: layer.apply({}, x), x)
    expected = value_and_gradients(lambda x: nn.max_pool(x, window_shape, strides, padding), x)
    assert_equal(found, expected, 0)


def test_odd_sides_are_pooled_as_they_were():
    x = jnp.asarray(pooled("plain"))[:, :7]
    with nn.intercept_methods(cpu_formulations):
        found = value_and_gradients(lambda x: MaxPool((2, 2), (2, 2)).apply({}, x), x)
    assert_equal(found, value_and_gradients(stock_pool, x), 0)
