"""Averages of a model over its training: exponential (EMA), with equal weights (SWA), and rising;
and lookahead, where training goes on from them.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxcnn.core.state import TrainState

# (values averaged so far) -> the newest one's share of the average; 1 for the first.
Share = Callable[[jax.Array], jax.Array]
Average = Callable[[TrainState], TrainState]


def exponential(decay: float) -> Share:
    """Each value weighs `decay` times as much as the next one (Polyak & Juditsky 1992). The average
    begins faster: after t values the decay is min(decay, (1 + t) / (10 + t)), as in TensorFlow's
    ExponentialMovingAverage.
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


def rising(decay: float, total: float) -> Share:
    """The decay grows with the cube of the way through the run, from 0 to `decay` (Jordan 2024,
    arXiv:2404.00498, for lookahead): early values are soon forgotten, the last ones averaged.

    total: the values averaged in the whole run.
    """
    return lambda count: 1.0 - decay * jnp.minimum((1 + count) / total, 1.0) ** 3


AVERAGES: dict[str, Callable[..., Share]] = {
    "exponential": exponential,
    "equal": equal,
    "rising": rising,
}


def make_average(
    share: Share, start: int = 0, *, every: int = 1, lookahead: bool = False
) -> Average:
    """Returns a pure `average(state)` -> the state with its new `averaged`, for a state after an
    update.

    start: number of updates before the averaging; until then the average is the model itself.
    every: steps between two values that are averaged.
    lookahead: whether parameters and BatchNorm's statistics go on from each new average, their slow
      weights (Zhang et al. 2019, arXiv:1907.08610); the optimiser's moments stay as they are.
    """

    def average(state: TrainState) -> TrainState:
        past = state.step - start
        # Nothing is averaged yet: the average is the model, or where lookahead will begin.
        unaveraged = past <= 0 if lookahead else past < every
        newest = jnp.where(unaveraged, 1.0, share(jnp.maximum(past // every - 1, 0)))
        newest = newest.astype(jnp.float32)
        due = unaveraged | (past % every == 0)

        def mix(old: jax.Array, new: jax.Array) -> jax.Array:
            # Where the share is 1, exactly the new value, whatever the old one was.
            mixed = jnp.where(newest == 1, new, old + newest.astype(old.dtype) * (new - old))
            return mixed if every == 1 else jnp.where(due, mixed, old)

        new = {"params": state.params, "batch_stats": state.batch_stats}
        averaged = jax.tree.map(mix, state.averaged, new)
        if lookahead:
            new = jax.tree.map(lambda slow, fast: jnp.where(due, slow, fast), averaged, new)
        return state.replace(**new, averaged=averaged)

    return average
