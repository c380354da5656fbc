"""Numbers of a config that differ between the members of a population."""

from collections.abc import Callable
from typing import Any

import jax


def with_values(build: Callable[[dict[str, jax.Array]], Callable[..., Any]]) -> Callable[..., Any]:
    """A step whose batch has "values", {name: float32[]} of one member.

    build: values -> the step for them. It runs while the step is traced, so that a learning rate, a
      decay or a schedule's peak is the member's own wherever it is used, as in a run by itself.
    """

    def step_with_values(state: Any, batch: dict[str, Any]) -> Any:
        rest = {name: value for name, value in batch.items() if name != "values"}
        return build(batch["values"])(state, rest)

    return step_with_values
