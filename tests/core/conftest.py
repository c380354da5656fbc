"""Quick compiling; and a small net that reads digits, trained once for all who look into one."""

from functools import partial
from typing import NamedTuple

import jax
import numpy as np
import pytest

from jaxcnn import MODELS, create_train_state, make_optimizer, make_train_step, normalize
from tests.steps import SHAPE, real_batch


@pytest.fixture(autouse=True, scope="module")
def compile_quickly():
    """What is shown here of pure functions does not hang on how well they are compiled, and XLA's
    and LLVM's optimisations take longer than these programs. What trains a model in other tests
    is compiled as for users.
    """
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


class Reader(NamedTuple):
    """predict: pixels in 0..255 -> logits, in evaluation mode; batch: 256 digits it never saw."""

    predict: object
    batch: dict


@pytest.fixture(scope="session")
def reader():
    model = MODELS["cnn"](num_classes=10, filters=(16, 32), convs_per_stage=1)
    tx = make_optimizer("adam", 5e-3)
    as_seen = partial(normalize, mean=(0.3,), std=(0.35,))
    step = jax.jit(make_train_step(model, tx, normalize=as_seen))
    state = create_train_state(model, tx, jax.random.key(0), SHAPE)
    data, order = real_batch(1280), np.random.default_rng(0)
    for _ in range(100):
        rows = order.choice(1280, 128, replace=False)
        state, _ = step(state, {name: value[rows] for name, value in data.items()})

    def predict(image):
        return model.apply(state.variables, as_seen(image), train=False)

    return Reader(jax.jit(predict), real_batch(256, start=1280))
