"""Several steps in one program."""

from collections.abc import Callable
from typing import Any

import jax

# What the batches of all steps have in common, and is there once.
COMMON = ("store", "values")


def in_turn(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step that makes as many as its batch has, one after the other, without the host between.

    The batch's arrays have the steps on a leading axis, but for those named in COMMON; so do the
    metrics. State and metrics are those of the steps made one by one, to rounding: the compiler
    sees another program.
    """

    def steps_in_turn(state: Any, batch: dict[str, Any]) -> Any:
        common = {name: value for name, value in batch.items() if name in COMMON}
        own = {name: value for name, value in batch.items() if name not in COMMON}
        return jax.lax.scan(lambda state, one: step(state, one | common), state, own)

    return steps_in_turn


def last_in_turn(batch: dict[str, Any]) -> dict[str, Any]:
    """The batch of the last of several steps."""
    return {name: value if name in COMMON else value[-1] for name, value in batch.items()}
