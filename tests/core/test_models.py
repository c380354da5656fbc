"""Models have the published sizes, float32 parameters and logits, and name what is wrong."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.core.models import MODELS
from jaxcnn.core.models.layers import ACTIVATIONS, POOLS, norm_layer

pytestmark = pytest.mark.quick

NORMS = ("batch", "group", "layer", "none")
IMAGE = np.random.default_rng(0).normal(0, 1, (4, 8, 8, 3)).astype(np.float32)


# A model of each family in two short stages: small enough to run often.
SMALL = {
    "cnn": {"filters": (5, 6), "convs_per_stage": 1},
    "resnet18": {"stage_sizes": (1, 1), "width": 4, "stem": "cifar"},
    "resnet50": {"stage_sizes": (1, 1), "width": 4, "stem": "cifar"},
    "resnet20_cifar": {"stage_sizes": (1, 1), "width": 4},
    "wide_resnet16_4": {"stage_sizes": (1, 1), "width": 4, "widen": 1},
    "vgg11": {"stage_sizes": (1, 1), "width": 4, "grid": 1, "dense": (7,), "dropout": 0.0},
    "lenet5": {"filters": (4, 5), "dense": (7,), "padding": 4},
    "airbench94": {"widths": (5, 6)},
    "convnext": {"depths": (1, 1), "widths": (5, 6), "patch_size": 2},
    "densenet121": {"depths": (1, 2), "growth": 4, "stem_width": 6, "stem": "cifar"},
}


def build(name="cnn", **keywords):
    return MODELS[name](num_classes=10, **SMALL[name] | keywords)


def shapes(model, size=8, channels=3):
    """The shapes of all variables, without computing any."""
    image = jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)
    return jax.eval_shape(partial(model.init, train=False), jax.random.key(0), image)


def some_variables(model, size=8, channels=3):
    """Random kernels, biases, scales and statistics: quicker than compiling the initialisers."""
    random = np.random.default_rng(0)

    def fill(leaf):
        if leaf.ndim == 1:
            return random.uniform(0.5, 1.5, leaf.shape).astype(leaf.dtype)
        scale = math.sqrt(2 / math.prod(leaf.shape[:-1]))
        return random.normal(0, scale, leaf.shape).astype(leaf.dtype)

    return jax.tree.map(fill, shapes(model, size, channels))


def train_logits(model, variables, key=None, image=IMAGE):
    rngs = {} if key is None else {"dropout": jax.random.key(key)}
    apply = partial(model.apply, train=True, mutable=["batch_stats"])
    return jax.jit(apply)(variables, image, rngs=rngs)


def eval_logits(model, variables, image=IMAGE):
    return jax.jit(partial(model.apply, train=False))(variables, image)


def count(params):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def test_a_small_model_of_every_family_is_tested():
    """MobileNets and EfficientNets have no keywords for that: `models/test_mobile.py` cuts them."""
    others = [name for name in MODELS if not name.startswith(("mobilenet", "efficientnet"))]
    assert {family(name) for name in SMALL} == {family(name) for name in others}


def family(name):
    model = MODELS[name]
    return getattr(model, "func", model)


def test_the_parameters_of_a_cnn_can_be_counted_by_hand():
    model = MODELS["cnn"](num_classes=10, filters=(32, 64), convs_per_stage=(1, 2), dense=(16,))
    convolutions = 3 * 3 * (3 * 32 + 32 * 64 + 64 * 64)  # no biases: the norms have them
    norms = 2 * (32 + 64 + 64)
    dense = 64 * 16 + 16 + 16 * 10 + 10
    assert count(shapes(model)["params"]) == convolutions + norms + dense


def shape_after(layer, model, size):
    """[H, W, C] of what a layer gives for an image of so many pixels."""
    apply = partial(model.apply, train=False, capture_intermediates=True)
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    _, state = jax.eval_shape(apply, shapes(model, size), image)
    return state["intermediates"][layer]["__call__"][0].shape[1:]


@pytest.mark.parametrize(("stem", "side"), [("imagenet", 2), ("cifar", 8)])
def test_a_resnet_shrinks_the_image_as_its_stem_says(stem, side):
    model = MODELS["resnet18"](num_classes=10, stem=stem)
    assert shape_after("stage4_block1", model, size=64) == (side, side, 512)


@pytest.mark.parametrize(
    ("keywords", "sides"),
    [
        ({}, (16, 16, 16, 8)),
        ({"pool_first": True}, (16, 8, 8, 8)),
        ({"strides": 2}, (8, 8, 8, 2)),
        ({"strides": (2, 1), "pool": "none"}, (8, 8, 8, 8)),
        ({"pool": "none"}, (16, 16, 16, 16)),
    ],
    ids=str,
)
def test_a_cnn_shrinks_the_image_where_it_is_told_to(keywords, sides):
    model = build(filters=(4, 4), convs_per_stage=2, **keywords)
    layers = ("Conv_0", "BatchNorm_0", "Conv_1", "Conv_2")
    assert [shape_after(layer, model, 16)[0] for layer in layers] == list(sides)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [16, 17])
@pytest.mark.parametrize("name", SMALL)
def test_any_image_gives_one_logit_a_class(name, size, channels):
    model = build(name)
    image = jax.ShapeDtypeStruct((2, size, size, channels), jnp.float32)
    apply = partial(model.apply, train=False)
    logits = jax.eval_shape(apply, shapes(model, size, channels), image)
    assert (logits.shape, logits.dtype) == ((2, 10), jnp.float32)


PARTS = [
    *(("cnn", {"norm": norm}) for norm in NORMS),
    *(("cnn", {"pool": pool}) for pool in (*POOLS, "none")),
    *(("cnn", {"activation": activation}) for activation in ACTIVATIONS),
    ("cnn", {"pool_first": True}),
    ("cnn", {"strides": 2, "pool": "none", "kernel_size": (5, 1)}),
    ("cnn", {"flatten": True, "dense": (7, 6)}),
    ("cnn", {"filters": (5, 37), "norm": "group"}),
    *(("resnet18", {"norm": norm, "stem": "cifar"}) for norm in NORMS),
    ("resnet18", {"width": 3, "norm": "group", "activation": "silu"}),
]


@pytest.mark.parametrize(("name", "keywords"), PARTS, ids=str)
def test_every_part_runs_a_forward_pass(name, keywords):
    model = build(name, **keywords)
    logits, _ = train_logits(model, some_variables(model))
    assert logits.shape == (4, 10)
    assert jnp.isfinite(logits).all()
    assert len(np.unique(np.asarray(logits), axis=0)) == 4  # it looks at the image


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", ["cnn", "resnet18"])
def test_bfloat16_leaves_parameters_and_logits_in_float32(name, norm):
    half, full = (build(name, norm=norm, dtype=dtype) for dtype in (jnp.bfloat16, jnp.float32))
    variables = some_variables(half)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    logits, exact = eval_logits(half, variables), eval_logits(full, variables)
    assert logits.dtype == jnp.float32
    assert (logits != exact).any()  # it did compute in bfloat16
    np.testing.assert_allclose(logits, exact, atol=0.05 * np.abs(exact).max())


@pytest.mark.parametrize("keywords", [{"dropout": 0.5}, {"stage_dropout": 0.5}], ids=str)
def test_dropout_is_random_in_training_only(keywords):
    model = build(**keywords)
    variables = some_variables(model)
    first, again, other = (train_logits(model, variables, key)[0] for key in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    plain = build()
    np.testing.assert_array_equal(eval_logits(model, variables), eval_logits(plain, variables))


def test_stage_dropout_drops_whole_channels():
    model = build(stage_dropout=0.5, norm="none", activation="tanh", pool="none")
    apply = partial(model.apply, train=True, capture_intermediates=True)
    rngs = {"dropout": jax.random.key(1)}
    _, state = jax.jit(apply)(some_variables(model), IMAGE, rngs=rngs)
    kept = np.asarray(state["intermediates"]["Dropout_0"]["__call__"][0]) != 0
    assert (kept.all((1, 2)) == kept.any((1, 2))).all()
    assert 0 < kept.mean() < 1


def test_batch_statistics_move_in_training_only():
    model = build(norm="batch")
    variables = some_variables(model)
    _, updates = train_logits(model, variables)
    before, after = (jax.tree.leaves(v["batch_stats"]) for v in (variables, updates))
    assert all((a != b).any() for a, b in zip(before, after, strict=True))
    alone, together = (eval_logits(model, variables, image) for image in (IMAGE[:1], IMAGE))
    np.testing.assert_allclose(alone[0], together[0], atol=1e-5)


WRONG = [
    ("cnn", {"activation": "rleu"}, r"activation='rleu'.*relu"),
    ("cnn", {"norm": "bach"}, r"norm='bach'.*batch"),
    ("cnn", {"pool": "mean"}, r"pool='mean'.*avg"),
    ("cnn", {"strides": (1, 2, 1)}, r"strides=\(1, 2, 1\): 2 stages"),
    ("cnn", {"kernel_size": (3,)}, r"kernel_size=\(3,\): 2 stages"),
    ("cnn", {"convs_per_stage": (1, 1, 1)}, r"convs_per_stage=\(1, 1, 1\): 2 stages"),
    ("cnn", {"filters": (4,) * 5}, r"filters=\(4, 4, 4, 4, 4\).*1x1 pixels"),
    ("cnn", {"filters": (0,)}, r"filters=\(0,\): expected whole numbers from 1"),
    ("cnn", {"kernel_size": 0}, r"kernel_size=0: expected whole numbers from 1"),
    ("cnn", {"strides": 0}, r"strides=0: expected whole numbers from 1"),
    ("cnn", {"dense": (0,)}, r"dense=\(0,\): expected whole numbers from 1"),
    ("cnn", {"dropout": 1.5}, r"dropout=1.5: expected a share"),
    ("cnn", {"stage_dropout": -0.1}, r"stage_dropout=-0.1: expected a share"),
    ("resnet18", {"width": 0}, r"width=0: expected whole numbers from 1"),
    ("resnet18", {"dropout": 1.0}, r"dropout=1.0: expected a share"),
    ("resnet18", {"stem": "cifr"}, r"stem='cifr'.*cifar, imagenet"),
    ("resnet18", {"shortcut": "cnv"}, r"shortcut='cnv'.*conv, pool, pad"),
    ("resnet18", {"groups": 2}, r"groups=2, group_width=64: only bottlenecks"),
    ("resnet50", {"groups": 0}, r"groups=0: expected whole numbers from 1"),
    ("resnet50", {"se_ratio": 1.5}, r"se_ratio=1.5: expected a share"),
    ("wide_resnet16_4", {"block_dropout": 1.0}, r"block_dropout=1.0: expected a share"),
    ("wide_resnet16_4", {"widen": 0}, r"widen=0: expected whole numbers from 1"),
    ("vgg11", {"stage_sizes": (1,) * 4}, r"stage_sizes=\(1, 1, 1, 1\): each stage.* 8x8 pixels"),
    ("vgg11", {"grid": 0}, r"grid=0: expected whole numbers from 1"),
    ("vgg11", {"dropout": -1.0}, r"dropout=-1.0: expected a share"),
    ("lenet5", {"padding": 3}, r"padding=3: 8x8 pixels are too few"),
    ("lenet5", {"pool": "none"}, r"pool='none'.*max, avg"),
    ("resnet20_cifar", {"stochastic_depth": 1.0}, r"stochastic_depth=1.0: expected a share"),
    ("resnet18", {"norm": "bach"}, r"norm='bach'.*batch"),
    ("resnet18", {"activation": "rleu"}, r"activation='rleu'.*relu"),
]


def test_group_norm_on_one_pixel_still_sees_the_image():
    """With one channel a group, every value would be its own mean."""
    norm = norm_layer("group", train=False)()
    x = jax.random.normal(jax.random.key(1), (3, 1, 1, 32))
    y = norm.apply(norm.init(jax.random.key(0), x), x)
    assert np.abs(y).min(axis=(1, 2, 3)).max() > 0
    assert not np.allclose(y[0], y[1])


@pytest.mark.parametrize(("name", "keywords", "message"), WRONG, ids=str)
def test_a_wrong_value_is_quoted_with_its_key(name, keywords, message):
    with pytest.raises(ValueError, match=message):
        shapes(build(name, **keywords))
