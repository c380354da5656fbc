"""Checkpoints on their way to the disk, held in memory."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np


class Held(NamedTuple):
    """A checkpoint that is to be written. parts: of a state, on the host. metrics: on validation;
    None if it was not validated.
    """

    step: int
    parts: dict[str, Any]
    metrics: dict[str, float] | None


def worth_writing(
    held: Sequence[Held], new: Held, rank: Callable[[dict[str, float]], float]
) -> list[Held]:
    """Of what is held and a newer one, in order: the best by rank, of equal ones the later, and the
    new one.
    """
    ranked = [(rank(one.metrics), one.step, one) for one in (*held, new) if one.metrics]
    best = max(ranked, key=lambda of: of[:2])[2] if ranked else new
    return [new] if best is new else [best, new]


def parts_of(state: Any) -> dict[str, Any]:
    """The parts of a state that are saved: none that is None; its typed PRNG key as plain uint32
    data, which any reader understands.
    """
    key: Any
    if isinstance(state.key, jax.ShapeDtypeStruct):
        data = jax.eval_shape(jax.random.key_data, state.key)
        key = jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=state.key.sharding)
    else:
        key = jax.random.key_data(state.key)
    parts = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return {name: part for name, part in parts.items() if part is not None} | {"key": key}


def on_host(parts: dict[str, Any]) -> dict[str, Any]:
    """Copies of what this process has whole: the next step takes the state's own memory, which on
    CPUs is the host's.
    """
    fetched = jax.device_get(parts)
    return jax.tree.map(np.array, fetched) if jax.default_backend() == "cpu" else fetched
