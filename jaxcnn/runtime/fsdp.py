"""Fully sharded data parallelism: parameters and optimiser state, too, are split over devices
(Rajbhandari et al. 2020, arXiv:1910.02054; Zhao et al. 2023, arXiv:2304.11277).

Only where arrays lie is said here, by `NamedSharding`; the compiler gathers and scatters them.
"""

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcnn.errors import UserError
from jaxcnn.runtime.mesh import AXIS, Parallel, jit_parallel

PyTree = Any
SHARDS = "fsdp"

# Arrays of fewer numbers stay whole on each device: to gather them would take longer than it saves.
SMALL = 4096


def spec_of(shape: Sequence[int], shards: int) -> P:
    """How an array is split: along its longest axis that the shards divide, the last of several;
    not at all if it is small or there is none.
    """
    fitting = [(size, axis) for axis, size in enumerate(shape) if size % shards == 0]
    if not fitting or prod(shape) < SMALL:
        return P()
    _, longest = max(fitting)
    return P(*(SHARDS if axis == longest else None for axis in range(len(shape))))


def fsdp_parallel(devices: Sequence[jax.Device], shards: int) -> Parallel:
    """`jit` over a mesh of two axes: batches are split over both, states over the second, which has
    `shards` devices.

    UserError where the shards do not divide the devices.
    """
    if len(devices) % shards:
        would = [n for n in range(1, len(devices) + 1) if len(devices) % n == 0]
        raise UserError(
            f"config.parallel.fsdp={shards}: does not divide the {len(devices)} devices; "
            f"{', '.join(map(str, would))} would do"
        )
    mesh = Mesh(np.asarray(devices).reshape(-1, shards), (AXIS, SHARDS))
    replicated = NamedSharding(mesh, P())
    parallel = jit_parallel(devices, mesh)

    def lay(leaf: Any) -> NamedSharding:
        return NamedSharding(mesh, spec_of(leaf.shape, shards))

    def place_states(states: Sequence[PyTree]) -> PyTree:
        if replicated.is_fully_addressable:
            (state,) = states
            return jax.tree.map(lambda leaf: jax.device_put(leaf, lay(leaf)), state)
        state = parallel.place_states(states)
        return jax.jit(lambda tree: tree, out_shardings=jax.tree.map(lay, state))(state)

    def transform(step: Any, *, donate: bool) -> Any:
        def sharded(state: PyTree, batch: PyTree) -> Any:
            result = step(state, batch)
            if not donate:
                return jax.lax.with_sharding_constraint(result, replicated)
            new, metrics = result
            new = jax.tree.map(lambda leaf: jax.lax.with_sharding_constraint(leaf, lay(leaf)), new)
            return new, jax.lax.with_sharding_constraint(metrics, replicated)

        return jax.jit(sharded, donate_argnums=0 if donate else ())

    whole = partial(_whole, replicated)
    return parallel._replace(
        place_states=place_states,
        transform=transform,
        one_copy=whole,
        member=lambda tree, number: whole(tree),
        saved=lambda tree, number: tree,
        each=lambda tree: parallel.each(whole(tree)),
    )


def _whole(replicated: NamedSharding, tree: PyTree) -> PyTree:
    """The same with each array whole on each device."""
    if all(leaf.is_fully_replicated for leaf in jax.tree.leaves(tree)):
        return tree
    return jax.jit(lambda tree: tree, out_shardings=replicated)(tree)
