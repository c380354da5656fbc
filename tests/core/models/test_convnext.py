"""ConvNeXt is the published network, and published weights find their places."""

import re
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.core.models import MODELS
from jaxcnn.pretrained.names import CONVNEXT
from tests.core.models.parity import all_converted, seeded
from tests.core.models.training import assert_learns
from tests.core.test_models import count, shapes, some_variables

SIZES = {"depths": (1, 2), "widths": (8, 12), "patch_size": 2}


def small(**keywords):
    return MODELS["convnext"](num_classes=5, **{"stochastic_depth": 0.0} | SIZES | keywords)


# torchvision.models.convnext_*: "num_params" of the weights IMAGENET1K_V1.
PUBLISHED = {
    "convnext_tiny": 28_589_128,
    "convnext_small": 50_223_688,
    "convnext_base": 88_591_464,
    "convnext_large": 197_767_336,
}


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_a_convnext_has_as_many_parameters_as_torchvision_publishes(name, parameters):
    assert count(shapes(MODELS[name](num_classes=1000), size=224)["params"]) == parameters


def test_without_sizes_a_convnext_is_the_tiny_one():
    tiny, default = (MODELS[name](num_classes=10) for name in ("convnext_tiny", "convnext"))
    assert tiny == default


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_two_steps_lower_the_loss(dtype):
    assert_learns(small(depths=(1, 1), widths=(16, 24)), dtype)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(("name", "size"), [("convnext_cifar", 32), ("convnext_tiny", 224)])
def test_two_steps_lower_the_loss_of_a_whole_network(name, size, dtype):
    assert_learns(MODELS[name](num_classes=10), dtype, size)


def torchvision_names(depths, widths, patch_size):
    """{name: shape} of all tensors, in torchvision's names."""

    def layer(name, *shape):
        return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}

    def block(name, width):
        return (
            layer(f"{name}.block.0", width, 1, 7, 7)
            | layer(f"{name}.block.2", width)
            | layer(f"{name}.block.3", 4 * width, width)
            | layer(f"{name}.block.5", width, 4 * width)
            | {f"{name}.layer_scale": (width, 1, 1)}
        )

    names = layer("features.0.0", widths[0], 3, patch_size, patch_size)
    names |= layer("features.0.1", widths[0])
    for stage, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        if stage:
            names |= layer(f"features.{2 * stage}.0", widths[stage - 1])
            names |= layer(f"features.{2 * stage}.1", width, widths[stage - 1], 2, 2)
        for position in range(depth):
            names |= block(f"features.{2 * stage + 1}.{position}", width)
    return names | layer("classifier.0", widths[-1]) | layer("classifier.2", 5, widths[-1])


FOUR_STAGES = {"depths": (1, 2, 12, 1), "widths": (4, 5, 6, 7), "patch_size": 4}


def test_every_tensor_of_torchvision_finds_its_place():
    model = small(**FOUR_STAGES)
    all_converted(seeded(torchvision_names(**FOUR_STAGES)), CONVNEXT, model, (64, 64, 3))


def timm_name(name):
    """What timm calls a tensor of torchvision."""
    for pattern, replacement in (
        (r"features\.0\.(\d)", r"stem.\1"),
        (r"features\.(\d)\.(\d+)\.layer_scale", r"stages.\1.blocks.\2.gamma"),
        (r"features\.(\d)\.(\d+)\.block\.0", r"stages.\1.blocks.\2.conv_dw"),
        (r"features\.(\d)\.(\d+)\.block\.2", r"stages.\1.blocks.\2.norm"),
        (r"features\.(\d)\.(\d+)\.block\.3", r"stages.\1.blocks.\2.mlp.fc1"),
        (r"features\.(\d)\.(\d+)\.block\.5", r"stages.\1.blocks.\2.mlp.fc2"),
        (r"features\.(\d)\.(\d)", r"stages.\1.downsample.\2"),
        (r"classifier\.0", "head.norm"),
        (r"classifier\.2", "head.fc"),
    ):
        name, replaced = re.subn(f"^{pattern}", replacement, name)
        if replaced:
            break
    return re.sub(r"^stages\.(\d)", lambda match: f"stages.{int(match[1]) // 2}", name)


def test_timm_has_other_names_for_the_same_tensors():
    theirs = torchvision_names(**FOUR_STAGES)
    timm = {timm_name(name): shape for name, shape in theirs.items()}
    # timm keeps the scales of channels as [C].
    timm = {n: s[:1] if n.endswith("gamma") else s for n, s in timm.items()}
    model = small(**FOUR_STAGES)
    places = [
        dict(converted.loaded)
        for converted in (
            all_converted(seeded(names), CONVNEXT, model, (64, 64, 3)) for names in (theirs, timm)
        )
    ]
    assert [places[1][timm_name(name)] for name in theirs] == [places[0][n] for n in theirs]


def test_the_layer_scale_starts_at_its_keyword():
    model = small(layer_scale=0.25)

    def scale(key):
        params = model.init(key, jnp.zeros((1, 8, 8, 3)), train=False)["params"]
        return params["stage2_block1"]["layer_scale"]

    np.testing.assert_array_equal(jax.jit(scale)(jax.random.key(0)), np.full(12, 0.25))


def test_stochastic_depth_leaves_out_late_blocks_of_whole_images():
    model = small(stochastic_depth=0.9)
    image = np.random.default_rng(0).normal(0, 1, (64, 8, 8, 3)).astype(np.float32)
    variables = some_variables(model)

    def blocks(train):
        apply = partial(model.apply, train=train, capture_intermediates=True)
        _, state = jax.jit(apply)(variables, image, rngs={"dropout": jax.random.key(1)})
        found = state["intermediates"]
        return [found[f"stage2_block{n}"]["__call__"][0] for n in (0, 1)]

    first, last = blocks(train=True)
    share = (first == last).all((1, 2, 3)).mean()
    assert 0.75 < share < 1
    first, last = blocks(train=False)
    assert not (first == last).all((1, 2, 3)).any()


WRONG = [
    ({"depths": (1, 1, 1)}, r"widths=\(8, 12\): expected one for each of depths=\(1, 1, 1\)"),
    ({"depths": (1, 0)}, r"depths=\(1, 0\): expected whole numbers from 1"),
    ({"kernel_size": 4}, r"kernel_size=4: expected an odd number"),
    ({"patch_size": 16}, r"patch_size=16: with 2 stages the image needs 32x32 pixels, it has 8x8"),
    ({"stochastic_depth": 1.0}, r"stochastic_depth=1.0: expected a share"),
    ({"norm": "bach"}, r"norm='bach'.*batch"),
    ({"activation": "glue"}, r"activation='glue'.*gelu_exact"),
]


@pytest.mark.parametrize(("keywords", "message"), WRONG, ids=str)
def test_a_wrong_value_is_quoted_with_its_key(keywords, message):
    with pytest.raises(ValueError, match=message):
        shapes(small(**keywords))
