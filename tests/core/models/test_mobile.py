"""MobileNets and EfficientNets have the published sizes and compute what PyTorch computes."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import create_train_state, make_train_step
from jaxcnn.core.models import MODELS
from jaxcnn.core.models.efficientnet import EfficientNet, EfficientNetV2S
from jaxcnn.core.models.inverted_residual import (
    Block,
    InvertedResidual,
    conv_norm,
    make_divisible,
)
from jaxcnn.core.models.layers import SqueezeExcite, norm_layer
from jaxcnn.core.models.mobilenet import MobileNetV2, MobileNetV3
from tests.core.models.mobile_cases import RENAMED, SHORT, WHOLE, shortened
from tests.core.models.parity import (
    assert_close,
    check_against_references,
    check_against_twin,
    converted,
    kept,
    kept_shapes,
    our_logits,
    ours,
    seeded,
)
from tests.steps import real_batch

FAMILIES = ("mobilenet", "efficientnet")


def shapes(model, size=32, channels=3):
    image = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    return jax.eval_shape(partial(model.init, train=False), jax.random.key(0), image)


def count(model):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes(model)["params"]))


# torchvision's documentation of its weights (`num_params`), of which each is one variant.
PUBLISHED = {
    "mobilenet_v2": 3_504_872,
    "mobilenet_v3_large": 5_483_032,
    "mobilenet_v3_small": 2_542_856,
    "efficientnet_b0": 5_288_548,
    "efficientnet_b1": 7_794_184,
    "efficientnet_b2": 9_109_994,
    "efficientnet_b3": 12_233_232,
    "efficientnet_b4": 19_341_616,
    "efficientnet_v2_s": 21_458_488,
}


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED.items())
def test_a_variant_has_as_many_parameters_as_torchvision_publishes(name, parameters):
    assert count(MODELS[name](num_classes=1000)) == parameters


# timm's table of results, in millions.
@pytest.mark.parametrize(
    ("name", "keywords", "millions"),
    [
        ("efficientnet_lite0", {}, 4.65),
        ("mobilenet_v2", {"width_multiplier": 0.35}, 1.68),
        ("mobilenet_v2", {"width_multiplier": 0.5}, 1.97),
        ("mobilenet_v2", {"width_multiplier": 1.4}, 6.11),
    ],
)
def test_a_variant_has_as_many_million_parameters_as_timm_publishes(name, keywords, millions):
    assert round(count(MODELS[name](num_classes=1000, **keywords)) / 1e6, 2) == millions


def test_every_variant_is_compared_with_what_is_published():
    ours = {name for name in MODELS if name.startswith(FAMILIES)}
    assert ours == {*PUBLISHED, "efficientnet_lite0"}


@pytest.mark.parametrize(
    ("width", "expected"), [(1, 8), (11.9, 16), (12, 16), (20, 24), (16.1, 16), (33, 32), (90, 88)]
)
def test_a_width_is_rounded_to_eights_and_never_far_below(width, expected):
    assert make_divisible(width) == expected


@pytest.mark.parametrize("case", SHORT, ids=lambda case: f"{case.family}-{case}")
def test_outputs_gradients_and_statistics_are_those_pytorch_gave(case):
    check_against_references(case)


@pytest.mark.parametrize("case", SHORT, ids=lambda case: f"{case.family}-{case}")
def test_outputs_gradients_and_statistics_are_those_of_a_twin_in_pytorch(case):
    pytest.importorskip("torch", reason="PyTorch is not installed (extra `parity`)")
    check_against_twin(case)


@pytest.mark.parametrize("case", WHOLE, ids=lambda case: f"{case.family}-{case}")
def test_all_tensors_of_a_published_net_find_their_place(case):
    state = {name: np.zeros(shape) for name, shape in kept_shapes(case).items()}
    converted(case, case.build(), state, np.float32)


def test_a_whole_mobilenet_v2_gives_the_logits_pytorch_gave():
    logits = our_logits(WHOLE[0], seeded(kept_shapes(WHOLE[0])))
    assert_close(logits, kept(WHOLE[0])["eval_logits"], 1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "case",
    [case for case in WHOLE if case.family != "efficientnet_v2"],
    ids=lambda case: f"{case.family}-{case}",
)
def test_a_whole_net_gives_all_that_pytorch_gave(case):
    check_against_references(case)


@pytest.mark.slow
def test_a_whole_efficientnet_v2_trains_as_in_pytorch():
    """Evaluation with statistics drawn at random is no measure here: with them, its forty blocks
    magnify a rounding error of the image over ten million times.
    """
    case = next(case for case in WHOLE if case.family == "efficientnet_v2")
    file, outcome = kept(case), ours(case)
    assert_close(outcome.train_logits, file["train_logits"])
    assert_close(outcome.projected(), file["projected"])


@pytest.mark.parametrize("case", RENAMED, ids=lambda case: f"{case.family}-{case}")
def test_a_net_in_the_names_of_timm_gives_the_logits_pytorch_gave(case):
    logits = our_logits(case, seeded(kept_shapes(case)))
    assert_close(logits, kept(case)["eval_logits"], 1e-4)


# The smallest of each family, whole and cut short.
SMALLEST = {
    "mobilenet_v2": (partial(MobileNetV2, width_multiplier=0.35), (1, 2)),
    "mobilenet_v3": (partial(MobileNetV3, size="small"), (1, 2, 1)),
    "efficientnet": (partial(EfficientNet, scale="b0"), (1, 2)),
    "efficientnet_v2": (EfficientNetV2S, (1, 1, 0, 2)),
}


def short(name="mobilenet_v2", **keywords):
    """The first blocks of a family, with a first stage that has a shortcut."""
    model, blocks = SMALLEST[name]
    model, given = getattr(model, "func", model), getattr(model, "keywords", {})
    return shortened(model, blocks)(**{"num_classes": 10, "stem": "cifar"} | given | keywords)


def two_losses(model, dtype):
    """The losses of two steps on one batch of 2 real images, [32, 32, 3]."""
    batch = real_batch(2)
    batch["image"] = np.kron(batch["image"], np.ones((1, 4, 4, 3), np.uint8))
    model, tx = model.clone(dtype=dtype, dropout=0.0, stochastic_depth=0.0), optax.sgd(0.01)
    options = {"xla_backend_optimization_level": 0}
    first = partial(create_train_state, model, tx, jax.random.key(0), (32, 32, 3))
    state = jax.jit(first, compiler_options=options)()
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
    step = jax.jit(make_train_step(model, tx), compiler_options=options)
    state, first = step(state, batch)
    _, second = step(state, batch)
    return float(first["loss"]), float(second["loss"])


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_short_net_learns_in_two_steps(dtype):
    first, second = two_losses(short(), dtype)
    assert np.isfinite([first, second]).all() and second < first


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("name", SMALLEST)
def test_the_smallest_of_each_family_learns_in_two_steps(name, dtype):
    first, second = two_losses(SMALLEST[name][0](num_classes=10, stem="cifar"), dtype)
    assert np.isfinite([first, second]).all() and second < first


def stage_shapes(model, size, channels=3):
    image = jax.ShapeDtypeStruct((2, size, size, channels), jnp.float32)
    apply = partial(model.apply, train=False, features=True)
    return jax.eval_shape(apply, shapes(model, size, channels), image)


@pytest.mark.parametrize(
    ("stem", "size", "sides"),
    [
        ("imagenet", 224, [112, 112, 56, 28, 14, 14, 7, 7, 7]),
        ("cifar", 32, [32, 32, 32, 16, 8, 8, 4, 4, 4]),
        ("imagenet", 17, [9, 9, 5, 3, 2, 2, 1, 1, 1]),
    ],
)
def test_a_mobilenet_shrinks_the_image_as_its_stem_says(stem, size, sides):
    model = MODELS["mobilenet_v2"](num_classes=10, stem=stem)
    logits, stages = stage_shapes(model, size, channels=1)
    assert (logits.shape, logits.dtype) == ((2, 10), jnp.float32)
    assert list(stages) == ["stem", *(f"stage{n}" for n in range(1, 9)), "penultimate"]
    assert [x.shape[1] for x in stages.values() if x.ndim == 4] == sides
    assert stages["stage8"].shape[-1] == 1280 == stages["penultimate"].shape[-1]


@pytest.mark.parametrize("name", SMALLEST)
def test_bfloat16_computes_in_bfloat16_with_float32_parameters_and_logits(name):
    model = short(name, dtype=jnp.bfloat16)
    logits, stages = stage_shapes(model, 8)
    assert logits.dtype == jnp.float32
    assert {x.dtype for x in stages.values()} == {jnp.dtype("bfloat16")}
    assert {x.dtype for x in jax.tree.leaves(shapes(model, 8))} == {jnp.dtype("float32")}


def some_variables(model, size=8):
    random = np.random.default_rng(0)

    def fill(leaf):
        if leaf.ndim == 1:
            return random.uniform(0.5, 1.5, leaf.shape).astype(leaf.dtype)
        scale = math.sqrt(2 / math.prod(leaf.shape[:-1]))
        return random.normal(0, scale, leaf.shape).astype(leaf.dtype)

    return jax.tree.map(fill, shapes(model, size))


IMAGE = np.random.default_rng(0).normal(0, 1, (4, 8, 8, 3)).astype(np.float32)


def test_features_change_no_logits_and_each_stage_has_a_gradient():
    model = short()
    variables = some_variables(model)
    apply = partial(model.apply, train=False)
    logits, stages = jax.jit(partial(apply, features=True))(variables, IMAGE)
    np.testing.assert_array_equal(logits, jax.jit(apply)(variables, IMAGE))

    def total(added):
        return (apply({**variables, "perturbations": added}, IMAGE) ** 2).sum()

    gradients = jax.jit(jax.grad(total))(dict(jax.tree.map(jnp.zeros_like, stages)))
    assert all((gradients[stage] != 0).any() for stage in stages)


def test_dropout_and_stochastic_depth_are_random_in_training_only():
    for keywords in ({"dropout": 0.5}, {"stochastic_depth": 0.5}):
        model = short(norm="none", **{"dropout": 0.0, "stochastic_depth": 0.0} | keywords)
        variables = some_variables(model)
        train = jax.jit(partial(model.apply, train=True))
        draws = [train(variables, IMAGE, rngs={"dropout": jax.random.key(k)}) for k in (1, 1, 2)]
        np.testing.assert_array_equal(draws[0], draws[1])
        assert (draws[0] != draws[2]).any()
        model.apply(variables, IMAGE, train=False)  # which needs no key


@pytest.mark.parametrize("block", [Block(8, 4), Block(4, 4), Block(8, 4, fused=True)], ids=str)
def test_a_block_starts_as_its_shortcut_where_its_last_scale_starts_at_zero(block):
    norm = norm_layer("batch", train=False)
    convolve = partial(conv_norm, norm=norm, use_bias=False, dtype=jnp.float32)
    zeros = nn.initializers.zeros
    module = InvertedResidual(block, convolve, nn.relu, SqueezeExcite, 0.0, zeros)
    x = jax.random.normal(jax.random.key(1), (2, 5, 5, 4))
    variables = jax.jit(partial(module.init, train=False))(jax.random.key(0), x)
    np.testing.assert_array_equal(module.apply(variables, x, train=False), x)


@pytest.mark.slow
@pytest.mark.parametrize("zero_init", [False, True])
def test_only_blocks_beside_a_shortcut_start_at_zero_and_only_where_asked_to(zero_init):
    model = short(stem="imagenet", zero_init=zero_init)
    variables = jax.jit(partial(model.init, train=False))(jax.random.key(0), IMAGE)
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    zero = [path[0].key for path, leaf in leaves if path[-1].key == "scale" and not leaf.any()]
    assert zero == (["stage2_block1"] if zero_init else [])


@pytest.mark.parametrize("norm", ["group", "layer", "none"])
def test_other_norms_have_no_statistics(norm):
    model = short(norm=norm)
    variables = some_variables(model)
    assert set(variables) == {"params"}
    assert np.isfinite(model.apply(variables, IMAGE, train=False)).all()


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"width_multiplier": 0.0}, "width_multiplier=0.0: expected a number above 0"),
        ({"stem": "cifr"}, "stem='cifr': expected one of cifar, imagenet"),
        ({"dropout": 1.0}, "dropout=1.0: expected a share"),
        ({"stochastic_depth": -0.1}, "stochastic_depth=-0.1: expected a share"),
        ({"norm_epsilon": 0.0}, "norm_epsilon=0.0: expected a number above 0"),
        ({"activation": "rleu"}, "activation='rleu': expected one of relu"),
        ({"norm": "bach"}, "norm='bach': expected one of batch"),
    ],
    ids=str,
)
def test_a_wrong_value_is_quoted_with_its_key(keywords, message):
    with pytest.raises(ValueError, match=message):
        shapes(MODELS["mobilenet_v2"](num_classes=10, **keywords))
