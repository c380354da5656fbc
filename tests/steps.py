"""A small model, a real batch and its steps, for the tests of what a step promises."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

from jaxcnn import (
    AUGMENTATIONS,
    MODELS,
    compose,
    create_train_state,
    make_eval_step,
    make_optimizer,
    make_train_step,
)
from jaxcnn.runtime.mesh import make_parallel

AUGMENT = compose([partial(AUGMENTATIONS["crop"], padding=1), AUGMENTATIONS["flip"]])
SHAPE = (8, 8, 1)


def real_batch(size, start=0):
    """Handwritten digits `start` to `start + size` as a batch."""
    data = load_digits()
    rows = np.arange(start, start + size)
    return {
        "image": (data.images[rows] * 15.9).astype(np.uint8)[..., None],
        "label": data.target[rows].astype(np.int32),
        "mask": np.ones(size, bool),
        "index": rows.astype(np.int32),
    }


def build(axis_name=None, dtype=jnp.float32, dropout=0.0):
    """(model, optimiser, train step, evaluation step)"""
    model = MODELS["cnn"](
        num_classes=10,
        filters=(8, 16),
        convs_per_stage=1,
        dropout=dropout,
        dtype=dtype,
        axis_name=axis_name,
    )
    tx = make_optimizer("sgd", 0.05, momentum=0.9, weight_decay=5e-4)
    train_step = make_train_step(model, tx, augment=AUGMENT, axis_name=axis_name)
    return model, tx, train_step, make_eval_step(model, axis_name=axis_name)


def fresh_state(seed=0, dtype=jnp.float32, dropout=0.0):
    """A state whose arrays all have the given dtype, and may be donated."""
    return jax.tree.map(jnp.copy, first_state(seed, dtype, dropout))


@cache
def first_state(seed, dtype, dropout):
    model, tx, *_ = build(dtype=dtype, dropout=dropout)

    @jax.jit
    def make_state():
        state = create_train_state(model, tx, jax.random.key(seed), SHAPE)
        cast = partial(jax.tree.map, lambda leaf: leaf.astype(dtype))
        params = cast(state.params)
        batch_stats, opt_state = cast(state.batch_stats), tx.init(params)
        return state.replace(params=params, batch_stats=batch_stats, opt_state=opt_state)

    return make_state()


def run_on(mode, num_devices, state, batches, dtype=jnp.float32, **keywords):
    """Trains on `batches` the way a run does; (final state, [metrics of each step])."""
    parallel = make_parallel(mode, len(batches[0]["label"]), jax.devices()[:num_devices])
    *_, train_step, _ = build(parallel.axis_name, dtype, **keywords)
    step = parallel.transform(train_step, donate=True)
    state = parallel.place_state(jax.tree.map(jnp.copy, state))
    history = []
    for batch in batches:
        state, metrics = step(state, parallel.place_batch(batch))
        history.append(jax.device_get(parallel.member(metrics, 0)))
    return parallel.member(state, 0), history


def leaves(tree):
    """Name -> host array of every leaf of a tree of parameters."""
    flat, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in flat}
