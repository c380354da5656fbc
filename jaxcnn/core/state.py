"""The state of a training run: one pytree."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax import struct

PyTree = Any


class TrainState(struct.PyTreeNode):
    """Everything a train step reads and writes.

    step: int32[], the number of updates made so far. The only clock: with `key` it decides
      augmentation, dropout and the learning rate of the next step.
    params: the model's trainable variables, float32.
    batch_stats: running BatchNorm statistics, and other variables that come from images, not from
      gradients; `{}` for a model without them. Other collections of a module are not kept.
    opt_state: the state of the Optax chain.
    key: the run's typed PRNG key. It never changes; steps fold their number into it.
    averaged: {"params", "batch_stats"} averaged over training, see `jaxcnn.core.average`; None
      where nothing is.

    >>> import jax, optax
    >>> from jaxcnn import MODELS, create_train_state
    >>> model = MODELS["lenet5"](num_classes=10)
    >>> state = create_train_state(model, optax.sgd(0.1), jax.random.key(0), (32, 32, 1))
    >>> int(state.replace(step=state.step + 1).step), sorted(state.variables)
    (1, ['batch_stats', 'params'])
    """

    step: jax.Array
    params: PyTree
    batch_stats: PyTree
    opt_state: optax.OptState
    key: jax.Array
    averaged: PyTree = None

    @property
    def variables(self) -> dict[str, PyTree]:
        """The variables for evaluation, export and use, as `model.apply` takes them: the average
        where there is one.
        """
        if self.averaged is not None:
            return self.averaged
        return {"params": self.params, "batch_stats": self.batch_stats}


def finite(tree: PyTree) -> jax.Array:
    """bool[]: whether no leaf has a NaN or an infinity."""
    numbers = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in numbers]).all()


all_finite = jax.jit(finite)


def create_train_state(
    model: nn.Module,
    tx: optax.GradientTransformation,
    key: jax.Array,
    image_shape: tuple[int, int, int],
    variables: Mapping[str, PyTree] | None = None,
    *,
    averaged: bool = False,
) -> TrainState:
    """Initialises a model and its optimiser.

    key: a typed key, `jax.random.key(seed)`.
    image_shape: (H, W, C) of one image.
    variables: {"params": ..., "batch_stats": ...} to begin with, trained weights for example; None
      for random ones.
    averaged: whether the state keeps an average of the model, for a train step with `average`.

    >>> import jax, optax
    >>> from jaxcnn import MODELS, create_train_state
    >>> model = MODELS["lenet5"](num_classes=10)
    >>> state = create_train_state(model, optax.sgd(0.1), jax.random.key(0), (32, 32, 1))
    >>> sum(leaf.size for leaf in jax.tree.leaves(state.params))
    61706
    """
    init_key, run_key = jax.random.split(key)
    if variables is None:
        image = jnp.zeros((1, *image_shape), jnp.float32)
        variables = model.init(init_key, image, train=False)
    params, batch_stats = variables["params"], variables.get("batch_stats", {})
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=batch_stats,
        opt_state=tx.init(params),
        key=run_key,
        # Copies: a step that reuses the state's memory may not be given the same array twice.
        averaged=jax.tree.map(jnp.copy, {"params": params, "batch_stats": batch_stats})
        if averaged
        else None,
    )
