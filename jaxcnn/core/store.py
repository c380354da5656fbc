"""Images that lie on the device: a batch names them by number."""

from collections.abc import Callable
from typing import Any

import jax


def from_store(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step whose batch has "store", uint8[N, H, W, C], instead of "image": the images are those
    of the numbers in "index", gathered inside the compiled step.
    """

    def step_from_store(state: Any, batch: dict[str, jax.Array]) -> Any:
        rest = {name: value for name, value in batch.items() if name != "store"}
        return step(state, rest | {"image": batch["store"][batch["index"]]})

    return step_from_store
