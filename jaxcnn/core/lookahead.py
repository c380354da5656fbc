"""Lookahead (Zhang et al. 2019, arXiv:1907.08610) for a train state that knows no slow weights."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

PyTree = Any


class LookaheadState(NamedTuple):
    """slow: the slow weights. inner: the state of `optax.lookahead`."""

    slow: PyTree
    inner: optax.OptState


def lookahead(
    fast: optax.GradientTransformation, steps: int, share: float
) -> optax.GradientTransformation:
    """Every so many updates of `fast`, the slow weights go `share` of the way to where it came,
    and it goes on from there.

    The same as `optax.lookahead`, which wants both sets of weights as its parameters; here the slow
    ones are in the state. The parameters that are evaluated are the fast ones.
    """
    both = optax.lookahead(fast, sync_period=steps, slow_step_size=share)

    def init(params: PyTree) -> LookaheadState:
        slow = jax.tree.map(jnp.copy, params)
        return LookaheadState(slow, both.init(optax.LookaheadParams(params, slow)))

    def update(
        updates: PyTree, state: LookaheadState, params: PyTree = None
    ) -> tuple[PyTree, LookaheadState]:
        pair = optax.LookaheadParams(params, state.slow)
        updates, inner = both.update(updates, state.inner, pair)
        return updates.fast, LookaheadState(optax.apply_updates(state.slow, updates.slow), inner)

    return optax.GradientTransformation(init, update)
