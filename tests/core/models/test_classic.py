"""Wide ResNets, VGG and LeNet-5 have the published sizes, and their options do what they say."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.core.models import MODELS
from jaxcnn.core.models.wide_resnet import WideResNet
from tests.core.models.parity import compiled_fast
from tests.core.test_models import IMAGE, build, count, eval_logits, shapes, some_variables

# Torchvision's documentation: num_params of the weights.
VGG = {
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
}

# (n of WRN-n-k, k): millions of parameters, table 4 of the paper.
WIDE = {(40, 1): 0.6, (40, 2): 2.2, (40, 4): 8.9, (28, 10): 36.5, (16, 8): 11.0, (16, 10): 17.1}


@pytest.mark.parametrize(("name", "parameters"), VGG.items())
def test_a_vgg_has_as_many_parameters_as_torchvision_publishes(name, parameters):
    assert count(shapes(MODELS[name](num_classes=1000), size=224)["params"]) == parameters


@pytest.mark.parametrize(("layers", "widen"), WIDE)
def test_a_wide_resnet_has_as_many_parameters_as_the_paper_says(layers, widen):
    model = WideResNet(num_classes=10, stage_sizes=((layers - 4) // 6,) * 3, widen=widen)
    assert round(count(shapes(model)["params"]) / 1e6, 1) == WIDE[layers, widen]


@pytest.mark.parametrize(
    ("name", "layers", "width"), [("wide_resnet16_4", 16, 256), ("wide_resnet28_10", 28, 640)]
)
def test_a_wide_resnet_is_named_after_its_layers_and_width(name, layers, width):
    params = shapes(MODELS[name](num_classes=10))["params"]
    kernels = [leaf for leaf in jax.tree.leaves(params) if len(leaf.shape) > 1]
    projections = sum("shortcut_conv" in block for block in params.values())
    # The paper counts projections as layers, and the last dense layer as none.
    assert len(kernels) - 1 == layers
    assert projections == 3
    assert params["head"]["kernel"].shape == (width, 10)


def test_lenet_has_the_parameters_that_can_be_counted_by_hand():
    params = shapes(MODELS["lenet5"](num_classes=10), size=32, channels=1)["params"]
    convolutions = (5 * 5 * 1 * 6 + 6) + (5 * 5 * 6 * 16 + 16)
    dense = (5 * 5 * 16 * 120 + 120) + (120 * 84 + 84) + (84 * 10 + 10)
    assert count(params) == convolutions + dense == 61_706


def test_lenet_sees_28_pixels_as_32_with_two_pixels_of_padding():
    padded = build("lenet5", padding=2)
    plain = build("lenet5", padding=0)
    image = np.random.default_rng(0).normal(size=(2, 28, 28, 3)).astype(np.float32)
    wide = np.pad(image, ((0, 0), (2, 2), (2, 2), (0, 0)))
    variables = some_variables(plain, 32)
    np.testing.assert_allclose(
        eval_logits(padded, variables, image), eval_logits(plain, variables, wide), rtol=1e-5
    )


def test_dropout_in_a_wide_block_is_random_in_training_only():
    """It stands between the convolutions, so the first's output stays as it was."""
    model, plain = (build("wide_resnet16_4", block_dropout=rate) for rate in (0.5, 0.0))
    variables = some_variables(model)
    np.testing.assert_array_equal(eval_logits(model, variables), eval_logits(plain, variables))

    apply = partial(model.apply, train=True, mutable=["batch_stats", "intermediates"])
    apply = compiled_fast(partial(apply, capture_intermediates=True))

    def train(key):
        _, state = apply(variables, IMAGE, rngs={"dropout": jax.random.key(key)})
        block = state["intermediates"]["stage1_block0"]
        return block["conv1"]["__call__"][0], block["Dropout_0"]["__call__"][0]

    (before, dropped), (same, others) = train(1), train(2)
    np.testing.assert_array_equal(before, same)
    assert ((dropped == 0) != (others == 0)).any()


@pytest.mark.parametrize("grid", [1, 2, 3, 7])
@pytest.mark.parametrize("size", [32, 50, 64])
def test_a_vgg_gives_its_dense_layers_a_grid_whatever_the_image(size, grid):
    model = MODELS["vgg11"](num_classes=10, width=2, grid=grid, dense=(4,))
    variables = shapes(model, size)
    assert variables["params"]["dense1"]["kernel"].shape == (16 * grid**2, 4)


def test_the_grid_of_one_cell_is_the_global_average():
    model = build("vgg11", dense=())
    _, stages = jax.jit(partial(model.apply, train=False, features=True))(
        some_variables(model), IMAGE
    )
    last = stages["stage2"]
    pooled = jnp.max(last.reshape(4, 2, 2, 2, 2, 8), axis=(2, 4))
    np.testing.assert_allclose(stages["penultimate"], pooled.mean((1, 2)), rtol=1e-6)
