"""ResNets have the published sizes, and their options do what they say."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.core.models import MODELS
from jaxcnn.core.models.layers import norm_layer
from jaxcnn.core.models.resnet import BasicBlock, BottleneckBlock
from tests.core.models.parity import compiled_fast
from tests.core.test_models import build, count, shapes, some_variables

# Torchvision's documentation (num_params of the weights); timm's results table for the last two.
IMAGENET = {
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "resnext50_32x4d": 25_028_904,
    "resnext101_32x8d": 88_791_336,
    "wide_resnet50_2": 68_883_240,
    "resnet50d": 25_576_264,
    "seresnet50": 28_088_024,
}

# Millions of parameters, table 6 of the paper.
CIFAR = {20: 0.27, 32: 0.46, 44: 0.66, 56: 0.85, 110: 1.7}


@pytest.mark.parametrize(("name", "parameters"), IMAGENET.items())
def test_it_has_as_many_parameters_as_published(name, parameters):
    assert count(shapes(MODELS[name](num_classes=1000), size=224)["params"]) == parameters


def test_a_resnet18_for_cifar_has_the_parameters_known_from_pytorch():
    # github.com/kuangliu/pytorch-cifar
    model = MODELS["resnet18"](num_classes=10, stem="cifar")
    assert count(shapes(model, size=32)["params"]) == 11_173_962


@pytest.mark.parametrize("layers", CIFAR)
def test_a_cifar_resnet_has_the_layers_and_parameters_of_the_paper(layers):
    params = shapes(MODELS[f"resnet{layers}_cifar"](num_classes=10), size=32)["params"]
    kernels = [leaf for leaf in jax.tree.leaves(params) if len(leaf.shape) > 1]
    assert len(kernels) == layers
    digits = 2 if layers < 110 else 1
    assert round(count(params) / 1e6, digits) == CIFAR[layers]


def test_option_b_adds_two_projections_to_a_cifar_resnet():
    plain, projected = (
        count(shapes(MODELS["resnet20_cifar"](num_classes=10, shortcut=shortcut))["params"])
        for shortcut in ("pad", "conv")
    )
    assert projected - plain == (16 * 32 + 2 * 32) + (32 * 64 + 2 * 64)


@pytest.mark.parametrize(
    ("block", "channels"), [(BasicBlock, 4), (BottleneckBlock, 16)], ids=["basic", "bottleneck"]
)
def test_a_residual_block_starts_as_its_shortcut(block, channels):
    conv = partial(nn.Conv, use_bias=False)
    norm = norm_layer("batch", train=False)
    last = partial(norm, scale_init=nn.initializers.zeros)
    given = {"conv": conv, "norm": norm, "last_norm": last, "activation": nn.relu}
    module = block(width=4, stride=1, **given)
    x = jnp.abs(jax.random.normal(jax.random.key(1), (2, 5, 5, channels)))
    np.testing.assert_array_equal(module.apply(module.init(jax.random.key(0), x), x), x)


def test_the_last_scale_of_a_block_starts_at_zero_where_told_so():
    for zero_init in (True, False):
        model = build("resnet18", zero_init=zero_init, stage_sizes=(1,))
        start = compiled_fast(partial(model.init, train=False))
        block = start(jax.random.key(0), jnp.zeros((1, 4, 4, 3)))["params"]["stage1_block0"]
        assert (block["norm2"]["scale"] == (not zero_init)).all()
        assert (block["norm1"]["scale"] == 1).all()


def test_stochastic_depth_leaves_out_whole_branches_in_training_only():
    """Of the last block, whose rate is the highest; the first block's rate is 0."""
    model = build("resnet18", stochastic_depth=0.5, norm="none", stage_sizes=(2,))
    apply = partial(model.apply, train=True, capture_intermediates=True)
    rngs = {"dropout": jax.random.key(3)}
    image = np.random.default_rng(0).normal(size=(16, 8, 8, 3)).astype(np.float32)
    variables = some_variables(model)
    _, state = jax.jit(apply)(variables, image, rngs=rngs)
    first, last = (state["intermediates"][f"stage1_block{n}"] for n in (0, 1))
    left_out = (last["drop"]["__call__"][0] == 0).all((1, 2, 3))
    assert 0 < left_out.sum() < 16
    kept = last["drop"]["__call__"][0] == 2 * last["conv2"]["__call__"][0]
    np.testing.assert_array_equal(kept.all((1, 2, 3)), ~left_out)
    np.testing.assert_array_equal(
        first["drop"]["__call__"][0], first["conv2"]["__call__"][0], "the first block stays"
    )
    plain = build("resnet18", norm="none", stage_sizes=(2,))
    evaluate = [jax.jit(partial(m.apply, train=False)) for m in (model, plain)]
    np.testing.assert_array_equal(*(f(variables, image) for f in evaluate))


def test_squeeze_and_excitation_squeezes_at_least_to_one_channel():
    params = shapes(build("resnet18", se_ratio=1 / 16))["params"]
    assert params["stage1_block0"]["se"]["reduce"]["kernel"].shape == (1, 1, 4, 1)
    assert math.prod(params["stage2_block0"]["se"]["expand"]["bias"].shape) == 8


@pytest.mark.parametrize("size", [1, 2, 5, 31])
@pytest.mark.parametrize(
    ("name", "keywords"),
    [("resnet18", {"stem": "imagenet"}), ("resnet50d", {}), ("resnet20_cifar", {})],
    ids=str,
)
def test_any_size_of_image_will_do(name, keywords, size):
    model = MODELS[name](num_classes=10, **keywords)
    image = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
    apply = partial(model.apply, train=False)
    assert jax.eval_shape(apply, shapes(model, size), image).shape == (2, 10)
