"""The smallest model of each family learns, in float32 and in bfloat16."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import MODELS, TrainState, make_train_step
from tests.core.models.parity import compiled_fast
from tests.core.test_models import shapes

LEARNING_RATE = 5e-4


def start(model, tx, size, channels):
    """A state with He's kernels, without compiling the initialisers."""
    random = np.random.default_rng(0)
    constant = {"scale": 1, "bias": 0, "mean": 0, "var": 1}

    def fill(path, leaf):
        if path[-1].key in constant:
            return np.full(leaf.shape, constant[path[-1].key], leaf.dtype)
        scale = math.sqrt(2 / math.prod(leaf.shape[:-1]))
        return random.normal(0, scale, leaf.shape).astype(leaf.dtype)

    found = jax.tree_util.tree_map_with_path(fill, shapes(model, size, channels))
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=found["params"],
        batch_stats=found.get("batch_stats", {}),
        opt_state=tx.init(found["params"]),
        key=jax.random.key(0),
    )


def losses(name, dtype, size, channels=3, learning_rate=LEARNING_RATE, **keywords):
    """Before, between and after two steps on the same two images."""
    batch = {
        "image": np.random.default_rng(0).integers(0, 256, (2, size, size, channels), np.uint8),
        "label": np.arange(2, dtype=np.int32),
        "mask": np.ones(2, bool),
        "index": np.arange(2, dtype=np.int32),
    }
    model, tx = MODELS[name](num_classes=10, dtype=dtype, **keywords), optax.sgd(learning_rate)
    state = start(model, tx, size, channels)
    step, found = compiled_fast(make_train_step(model, tx)), []
    for _ in range(3):
        state, metrics = step(state, batch)
        found.append(float(metrics["loss"]))
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
    return found


def assert_learns(name, dtype, size, **keywords):
    found = losses(name, dtype, size, **keywords)
    assert np.isfinite(found).all()
    assert found[0] > found[1] > found[2]


both_dtypes = pytest.mark.parametrize(
    "dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"]
)
# The dense layers of the paper would hold 130 million parameters.
SMALLEST = {
    # The stem for 224 pixels would leave one of 32, and norms over two values flip with rounding.
    "resnet18": {"stem": "cifar"},
    "resnet20_cifar": {},
    "wide_resnet16_4": {},
    "vgg11_bn": {"grid": 1, "dense": (64,), "dropout": 0.0},
    "lenet5": {"channels": 1},
}


@both_dtypes
@pytest.mark.parametrize("name", SMALLEST)
def test_the_loss_falls_at_32_pixels(name, dtype):
    assert_learns(name, dtype, 32, **SMALLEST[name])


@pytest.mark.slow
@both_dtypes
@pytest.mark.parametrize("name", ["resnet18", "vgg11"])
def test_the_loss_falls_at_the_native_size(name, dtype):
    # Without norms, and with 25,088 inputs to a dense layer, a step must be smaller.
    how = {"dropout": 0.0, "learning_rate": 5e-5} if name == "vgg11" else {}
    assert_learns(name, dtype, 224, **how)
