"""How a run lies on the devices: `jit` over a mesh, or `pmap`. The steps do not know."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcnn.errors import UserError

PyTree = Any
AXIS = "data"


class Parallel(NamedTuple):
    """One way to run a step on several devices.

    num_devices: what the batch size must be a multiple of.
    axis_name: what the steps and the model's BatchNorm must be given.
    place_state: a state of host or device arrays -> one that lies as the steps expect.
    place_batch: a batch of NumPy arrays, the whole of it -> one that lies as the steps expect.
    transform: a step -> a compilable function of (state, batch); donate=True lets it reuse the
      state's memory.
    one_copy: what lies on all devices -> the single copy that checkpoints and metrics use.
    """

    num_devices: int
    axis_name: str | None
    place_state: Callable[[PyTree], PyTree]
    place_batch: Callable[[PyTree], PyTree]
    transform: Callable[..., Any]
    one_copy: Callable[[PyTree], PyTree]


def jit_parallel(devices: Sequence[jax.Device]) -> Parallel:
    """`jit` over a one-axis mesh: states replicated, batches split, the compiler does the rest."""
    mesh = Mesh(np.asarray(devices), (AXIS,))
    replicated, split = NamedSharding(mesh, P()), NamedSharding(mesh, P(AXIS))

    def place_batch(batch):
        return {k: jax.make_array_from_process_local_data(split, v) for k, v in batch.items()}

    def transform(step, *, donate: bool):
        return jax.jit(
            step,
            in_shardings=(replicated, None),  # batches come placed
            out_shardings=replicated,
            donate_argnums=0 if donate else (),
        )

    return Parallel(
        num_devices=len(devices),
        axis_name=None,
        place_state=lambda state: jax.device_put(state, replicated),
        place_batch=place_batch,
        transform=transform,
        one_copy=lambda tree: tree,
    )


def pmap_parallel(devices: Sequence[jax.Device]) -> Parallel:
    """`pmap`, for those who want it: one copy of the state on each device, on a leading axis."""
    count = len(devices)
    mesh = Mesh(np.asarray(devices), (AXIS,))
    stacked = NamedSharding(mesh, P(AXIS))

    def copies(leaf):
        """[count, ...], one on each device and never all on one."""
        own = [jax.device_put(leaf[None], device) for device in devices]
        shape = (count, *leaf.shape)
        return jax.make_array_from_single_device_arrays(shape, stacked, own)

    def place_state(state):
        return jax.tree.map(copies, state)

    def place_batch(batch):
        return {
            k: jax.device_put(v.reshape(count, -1, *v.shape[1:]), stacked) for k, v in batch.items()
        }

    def transform(step, *, donate: bool):
        return jax.pmap(step, axis_name=AXIS, devices=devices, donate_argnums=0 if donate else ())

    return Parallel(
        num_devices=count,
        axis_name=AXIS,
        place_state=place_state,
        place_batch=place_batch,
        transform=transform,
        one_copy=lambda tree: jax.tree.map(lambda leaf: leaf[0], tree),
    )


PARALLEL: dict[str, Callable[[Sequence[jax.Device]], Parallel]] = {
    "jit": jit_parallel,
    "pmap": pmap_parallel,
}


def make_parallel(mode: str, batch_size: int, devices: Sequence[jax.Device]) -> Parallel:
    """Chooses the way by name; UserError where the devices do not divide the batch."""
    count = len(devices)
    if batch_size % count:
        lower, upper = batch_size // count * count, -(-batch_size // count) * count
        would = f"{lower} or {upper}" if lower else f"{upper}"
        raise UserError(
            f"config.batch_size={batch_size}: {count} devices do not divide it; {would} would do"
        )
    return PARALLEL[mode](devices)


def device_memory() -> int | None:
    """Bytes of one accelerator; None on CPUs, whose memory is the machine's."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return None
    return (device.memory_stats() or {}).get("bytes_limit")
