"""Train steps that leave out an update which is not finite."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import optax

from jaxcnn.core.state import PyTree, TrainState
from jaxcnn.core.step import Batch, Metrics, TrainStep


def skip_nonfinite(train_step: TrainStep) -> TrainStep:
    """The same step, but an update with a NaN or an infinity in its loss or in the state it would
    leave is not made: parameters, statistics, moments and averages stay as they were.

    The clocks go on. They are the state's whole-number scalars: `step`, and the optimiser's counts,
    which decide the learning rate, when a rule thaws and which steps make one update; so update k
    has the same batch, keys and learning rate whether those before it were made or not. Adam's
    correction of its bias counts updates left out too, a difference that decays with its moments.
    With `accumulate` k, a step left out counts in the mean of its update as a gradient of 0: the
    update is the sum of the others' gradients, divided by k. Where it is the last of the k, there
    is no update, and nothing of the others is left for the next one.

    It is the new state that is looked at, not the gradients: what clipping has mended, or what is
    of a frozen parameter, does no harm, and what overflows in a moment does. For the same reason
    it goes around any step, one of your own too. `optax.apply_if_finite` is another thing: it does
    not see the loss or BatchNorm's statistics, stops the count of the schedule, and after so many
    in a row applies what is not finite.

    `metrics` of an update left out are 0, so that sums have nothing of it, and all have "skipped",
    int32[]: 1 where it was left out.
    """

    def step(state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
        new, metrics = train_step(state, batch)
        finite = _finite((new, metrics["loss"]))
        metrics = {name: jnp.where(finite, sums, 0) for name, sums in metrics.items()}
        metrics["skipped"] = (~finite).astype(jnp.int32)
        return jax.tree.map(partial(_all_kept, finite), state, new, is_leaf=_accumulates), metrics

    return step


# `config.on_nonfinite`: what becomes of a train step. A run that stops sees it in the metrics.
ON_NONFINITE: dict[str, Callable[[TrainStep], TrainStep]] = {
    "stop": lambda train_step: train_step,
    "skip": skip_nonfinite,
}


def _finite(tree: PyTree) -> jax.Array:
    numbers = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in numbers]).all()


def _accumulates(node: PyTree) -> bool:
    return isinstance(node, optax.MultiStepsState)


def _all_kept(finite: jax.Array, old: PyTree, new: PyTree) -> PyTree:
    """`_kept` of a node and what is in it; the mean so far has a 0 more, or begins anew."""
    kept = jax.tree.map(partial(_kept, finite), old, new)
    if not _accumulates(new):
        return kept
    share = jnp.where(new.mini_step == 0, 0, old.mini_step / (old.mini_step + 1))
    return kept._replace(
        acc_grads=jax.tree.map(
            lambda before, after: jnp.where(finite, after, (share * before).astype(before.dtype)),
            old.acc_grads,
            new.acc_grads,
        )
    )


def _kept(finite: jax.Array, old: jax.Array, new: jax.Array) -> jax.Array:
    is_clock = new.ndim == 0 and jnp.issubdtype(new.dtype, jnp.integer)
    return new if is_clock else jnp.where(finite, new, old)
