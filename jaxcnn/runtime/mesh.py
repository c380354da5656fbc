"""How a run, or a population of runs, lies on the devices. The steps do not know."""

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, Sharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from jaxcnn.core.step_wrappers import StepInput
from jaxcnn.errors import UserError

PyTree = Any
AXIS = "data"


def _whole_run(tree: PyTree, number: int) -> PyTree:
    """What lies on all devices, of a run by itself."""
    return tree


class Parallel(NamedTuple):
    """One way to run a step on several devices, for one run or for several at once, the members.

    num_devices: what the batch size must be a multiple of.
    share: batch size -> the part of a batch that this process loads; all, if it is the only one.
    place_state: a state of host or device arrays, the same in all processes -> one that lies as the
      steps expect; for a population, what all members share.
    place_states: the states of all members -> one that lies as the steps expect.
    place_batch: a batch of NumPy arrays, or a `StepInput` of one, this process' share of it -> the
      same as it must lie for the steps; the same arrays where that is the memory of one CPU.
    transform: a step -> a compilable function of (state, batch or StepInput); donate=True lets it
      reuse the state's memory.
    each: what a step returned -> on the host, with the members on the leading axis of each array.
    place_batches: as place_batch, for the batches of a program of several steps, see
      `jaxcnn.core.step_wrappers.scan_steps`; None where there is no such way.
    axis_name: what the steps and the model's BatchNorm must be given.
    member: (what a step returned, number) -> that member's part, the single copy. (Over processes
      an array is whole on each device; `jax.device_get` gives its value.)
    saved: the same as checkpoints write it: each array one array, wherever its parts lie.
    """

    num_devices: int
    share: Callable[[int], slice]
    place_state: Callable[[PyTree], PyTree]
    place_states: Callable[[Sequence[PyTree]], PyTree]
    place_batch: Callable[[PyTree], PyTree]
    transform: Callable[..., Any]
    each: Callable[[PyTree], PyTree]
    place_batches: Callable[[Sequence[PyTree]], PyTree] | None = None
    axis_name: str | None = None
    member: Callable[[PyTree, int], PyTree] = _whole_run
    saved: Callable[[PyTree, int], PyTree] = _whole_run


def jit_parallel(devices: Sequence[jax.Device], mesh: Mesh | None = None) -> Parallel:
    """`jit` over a mesh: states replicated, batches split, the compiler does the rest.

    mesh: of these devices in this order; batches are split over all of its axes. None: one axis.
    """
    mesh = Mesh(np.asarray(devices), (AXIS,)) if mesh is None else mesh
    replicated, split = NamedSharding(mesh, P()), NamedSharding(mesh, P(mesh.axis_names))
    split_later = NamedSharding(mesh, P(None, mesh.axis_names))

    def place(batch, sharding):
        # One CPU's memory is the host's: a compiled step takes NumPy's arrays as they are, in a
        # fifth of the time that it takes to make JAX's of them first.
        if len(devices) == 1 and devices[0].platform == "cpu":
            return batch
        return jax.tree.map(partial(jax.make_array_from_process_local_data, sharding), batch)

    def place_batches(batches):
        return place(jax.tree.map(lambda *leaves: np.stack(leaves), *batches), split_later)

    place_state = partial(jax.tree.map, partial(_on_each_device, sharding=replicated))
    return Parallel(
        num_devices=len(devices),
        share=partial(_share, devices),
        place_state=place_state,
        place_states=lambda states: place_state(*states),
        place_batch=partial(place, sharding=split),
        place_batches=place_batches,
        transform=partial(_jit, replicated),
        each=_with_axis,
    )


def pmap_parallel(devices: Sequence[jax.Device]) -> Parallel:
    """`pmap`, for those who want it: one copy of the state on each device, on a leading axis."""
    mesh = Mesh(np.asarray(devices), (AXIS,))
    replicated = NamedSharding(mesh, P())
    # What `pmap` takes and gives is what this process has, on a leading axis of its devices.
    local = list(mesh.local_devices)
    stacked = NamedSharding(Mesh(np.asarray(local), (AXIS,)), P(AXIS))

    def copies(leaf):
        """[local devices, ...], one on each and never all on one."""
        own = [jax.device_put(_value(leaf)[None], device) for device in local]
        shape = (len(local), *leaf.shape)
        return jax.make_array_from_single_device_arrays(shape, stacked, own)

    def place_batch(batch):
        return jax.tree.map(
            lambda leaf: jax.device_put(leaf.reshape(len(local), -1, *leaf.shape[1:]), stacked),
            batch,
        )

    def transform(step, *, donate: bool):
        return jax.pmap(step, axis_name=AXIS, devices=devices, donate_argnums=0 if donate else ())

    def first_copy(leaf):
        if len(local) == len(devices):
            return leaf[0]
        own = [shard.data[0] for shard in leaf.addressable_shards]
        return jax.make_array_from_single_device_arrays(leaf.shape[1:], replicated, own)

    def one_copy(tree, number=0):
        return jax.tree.map(first_copy, tree)

    return Parallel(
        num_devices=len(devices),
        axis_name=AXIS,
        share=partial(_share, devices),
        place_state=partial(jax.tree.map, copies),
        place_states=lambda states: jax.tree.map(copies, *states),
        place_batch=place_batch,
        transform=transform,
        member=one_copy,
        saved=one_copy,
        each=lambda tree: _with_axis(one_copy(tree)),
    )


def population_parallel(devices: Sequence[jax.Device], members: int) -> Parallel:
    """Several runs in one program: `vmap` of a step over members, which are split over devices.

    The steps take a `StepInput`. Its values have the members on the leading axes, its store is what
    all members share; its batch has them there if "index" has two axes, else it is that of all
    members. Where the devices do not divide the members, copies of the last one fill the places.
    """
    mesh = Mesh(np.asarray(devices), (AXIS,))
    replicated, split = NamedSharding(mesh, P()), NamedSharding(mesh, P(AXIS))
    idle = -members % len(devices)

    @partial(jax.jit, out_shardings=replicated)
    def take(tree, number):
        return jax.tree.map(lambda leaf: leaf[number], tree)

    @partial(jax.jit, out_shardings=split)
    def stack(leaves):
        return jnp.stack(leaves)

    def stacked(*leaves):
        """Of all members, each device's own put together there: none ever holds more."""
        if not jnp.ndim(leaves[0]):
            # `jit` keeps a number's weak type: it promotes in a step as Python's do in a lone run.
            return stack(jax.device_put(leaves, replicated))
        share = len(leaves) // len(devices)
        parts = [
            jnp.stack([jax.device_put(leaf, device) for leaf in leaves[i * share :][:share]])
            for i, device in enumerate(devices)
        ]
        shape = (len(leaves), *jnp.shape(leaves[0]))
        return jax.make_array_from_single_device_arrays(shape, split, parts)

    def place_states(states):
        return jax.tree.map(stacked, *states, *[states[-1]] * idle)

    def place_batch(inputs):
        if inputs.batch["index"].ndim == 1:
            return jax.device_put(inputs, replicated)
        filled = jax.tree.map(lambda leaf: np.concatenate([leaf, *[leaf[-1:]] * idle]), inputs)
        return jax.device_put(filled, split)

    def transform(step, *, donate: bool):
        def step_of_all(state, inputs):
            own = 0 if inputs.batch["index"].ndim == 2 else None
            axes = StepInput(batch=own, store=None, values=0, signal=None)
            return jax.vmap(step, in_axes=(0, axes))(state, inputs)

        return _jit(split, step_of_all, donate=donate)

    return Parallel(
        num_devices=1,
        share=slice,
        place_state=lambda tree: jax.device_put(tree, replicated),
        place_states=place_states,
        place_batch=place_batch,
        transform=transform,
        member=take,
        saved=take,
        each=lambda tree: jax.tree.map(lambda leaf: leaf[:members], jax.device_get(tree)),
    )


def _jit(sharding: NamedSharding, step: Callable[..., Any], *, donate: bool) -> Any:
    """A step whose state and results lie like that; batches come placed."""
    donated = 0 if donate else ()
    into, out = (sharding, None), sharding
    return jax.jit(step, in_shardings=into, out_shardings=out, donate_argnums=donated)


def _with_axis(tree: PyTree) -> PyTree:
    """A tree on the host, with the leading axis of a population of one."""
    return jax.tree.map(lambda leaf: leaf[None], jax.device_get(tree))


def _share(devices: Sequence[jax.Device], batch_size: int) -> slice:
    """The part of a batch that lies on the devices of this process."""
    own = [i for i, device in enumerate(devices) if device.process_index == jax.process_index()]
    each = batch_size // len(devices)
    return slice(own[0] * each, (own[-1] + 1) * each)


def _on_each_device(leaf: Any, sharding: NamedSharding) -> jax.Array:
    """A value that all processes have, whole on each device; nothing is sent between processes."""
    if sharding.is_fully_addressable or getattr(leaf, "sharding", None) == sharding:
        return jax.device_put(leaf, sharding)
    own = [jax.device_put(_value(leaf), device) for device in sharding.mesh.local_devices]
    return jax.make_array_from_single_device_arrays(leaf.shape, sharding, own)


def _value(leaf: Any) -> Any:
    """The copy in this process of what is whole on each device."""
    far = isinstance(leaf, jax.Array) and not leaf.is_fully_addressable
    return leaf.addressable_data(0) if far else leaf


def local_copy(tree: PyTree) -> PyTree:
    """What `Parallel.member` gives, as this process alone can compute with it."""
    return jax.tree.map(_value, tree)


def one_copy_sharding() -> Sharding:
    """Where the single copy lies that checkpoints are written from and read to."""
    if jax.process_count() == 1:
        return SingleDeviceSharding(jax.devices()[0])
    return NamedSharding(Mesh(np.asarray(all_devices()), (AXIS,)), P())


def all_devices() -> list[jax.Device]:
    """The devices of all processes, in an order that gives each process one part of a batch."""
    return sorted(jax.devices(), key=lambda device: (device.process_index, device.id))


PARALLEL: dict[str, Callable[..., Parallel]] = {"jit": jit_parallel, "pmap": pmap_parallel}


def make_parallel(mode: str, batch_size: int, devices: Sequence[jax.Device]) -> Parallel:
    """Chooses the way by name; UserError where the devices do not divide the batch.

    devices: those of one process follow one another, see `all_devices`.
    """
    check_batch_size(batch_size, devices)
    return PARALLEL[mode](devices)


def check_batch_size(batch_size: int, devices: Sequence[jax.Device]) -> None:
    """UserError where the devices do not divide the batch."""
    count = len(devices)
    if batch_size % count:
        lower, upper = batch_size // count * count, -(-batch_size // count) * count
        would = f"{lower} or {upper}" if lower else f"{upper}"
        raise UserError(
            f"config.batch_size={batch_size}: {count} devices do not divide it; {would} would do"
        )


def device_memory() -> int | None:
    """The memory of one accelerator in bytes; None on CPUs, whose memory is the machine's."""
    device = jax.local_devices()[0]
    if device.platform == "cpu":
        return None
    return (device.memory_stats() or {}).get("bytes_limit")


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
    """Fully sharded data parallelism: parameters and optimiser state, too, are split over devices
    (Rajbhandari et al. 2020, arXiv:1910.02054; Zhao et al. 2023, arXiv:2304.11277).

    `jit` over a mesh of two axes: batches are split over both, states over the second, which has
    `shards` devices. `NamedSharding` says where arrays lie; the compiler gathers and scatters them.
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
            return jax.tree.map(lambda leaf: jax.device_put(leaf, lay(leaf)), *states)
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

    def whole(tree: PyTree, number: int = 0) -> PyTree:
        """The same with each array whole on each device."""
        if all(leaf.is_fully_replicated for leaf in jax.tree.leaves(tree)):
            return tree
        return jax.jit(lambda tree: tree, out_shardings=replicated)(tree)

    return parallel._replace(
        place_states=place_states,
        transform=transform,
        member=whole,
        each=lambda tree: parallel.each(whole(tree)),
    )
