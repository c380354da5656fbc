"""Averages of a model over its training: exponential (EMA), or with equal weights (SWA)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxcnn.core.state import PyTree, TrainState

# (values averaged so far) -> the newest one's share of the average; 1 for the first.
Share = Callable[[jax.Array], jax.Array]
Average = Callable[[TrainState], PyTree]


def exponential(decay: float) -> Share:
    """Each value weighs `decay` times as much as the next one (Polyak & Juditsky 1992), but the
    average is at most so slow as its past is long: after t values the decay is
    min(decay, (1 + t) / (10 + t)), as in TensorFlow's ExponentialMovingAverage.
    """

    def share(count: jax.Array) -> jax.Array:
        slowest = jnp.minimum(decay, (1 + count) / (10 + count))
        return jnp.where(count == 0, 1.0, 1.0 - slowest)

    return share


def equal() -> Share:
    """All values weigh the same (stochastic weight averaging, Izmailov et al. 2018,
    arXiv:1803.05407; here of every step, BatchNorm's statistics too).
    """
    return lambda count: 1.0 / (1 + count)


AVERAGES: dict[str, Callable[..., Share]] = {"exponential": exponential, "equal": equal}


def make_average(share: Share, start: int = 0) -> Average:
    """Returns a pure `average(state)` -> the new `state.averaged`, for a state after an update.

    start: updates of which nothing is averaged; until then the average is the model itself.
    """

    def average(state: TrainState) -> PyTree:
        count = jnp.maximum(state.step - 1 - start, 0)
        newest = share(count).astype(jnp.float32)

        def mix(old: jax.Array, new: jax.Array) -> jax.Array:
            # Where the share is 1, exactly the new value, whatever the old one was.
            mixed = old + newest.astype(old.dtype) * (new - old)
            return jnp.where(newest == 1, new, mixed)

        new = {"params": state.params, "batch_stats": state.batch_stats}
        return jax.tree.map(mix, state.averaged, new)

    return average
