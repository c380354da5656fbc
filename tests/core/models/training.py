"""Two steps on two real digits: what every family must be able to do."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn import create_train_state, make_train_step
from tests.steps import real_batch


def two_losses(model, dtype, size, learning_rate=0.01):
    """The losses of two steps on one batch of 2 images, [size, size, 3]."""
    batch = real_batch(2)
    batch["image"] = np.kron(batch["image"], np.ones((1, size // 8, size // 8, 3), np.uint8))
    model, tx = model.clone(dtype=dtype), optax.sgd(learning_rate)

    key = jax.random.key(0)
    # Quicker to compile.
    options = {"xla_backend_optimization_level": 0}
    state = jax.jit(lambda: create_train_state(model, tx, key, (size, size, 3))).lower()
    state = state.compile(compiler_options=options)()
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}
    step = jax.jit(make_train_step(model, tx)).lower(state, batch)
    step = step.compile(compiler_options=options)
    losses = []
    for _ in range(2):
        state, metrics = step(state, batch)
        losses.append(float(metrics["loss"]))
    return losses


def assert_learns(model, dtype, size=32, **keywords):
    first, second = two_losses(model, dtype, size, **keywords)
    assert np.isfinite([first, second]).all()
    assert second < first
