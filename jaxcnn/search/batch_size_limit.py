"""The largest batch whose training fits into the memory of a device, found by compiling.

XLA plans every byte of a program before it runs. Asking for that plan costs a compilation, and
nothing is allocated; trying batch sizes until one crashes would cost a process each, and its
neighbours on the device.
"""

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcnn.builders.auto import prepare
from jaxcnn.config.keys import flatten, resolve, unflatten
from jaxcnn.core.step_wrappers import StepInput
from jaxcnn.data.cache import memory_size
from jaxcnn.data.pipeline import train_rows
from jaxcnn.data.source import Dataset, Images
from jaxcnn.errors import UserError
from jaxcnn.files.folders import check_writable, write_files
from jaxcnn.runtime.compile import compile_step, enable_compile_cache
from jaxcnn.runtime.memory import seconds_a_step
from jaxcnn.runtime.mesh import device_memory
from jaxcnn.training.first_state import describe_parameters, state_maker
from jaxcnn.training.loop import load_data
from jaxcnn.training.run import Run, build_run

logger = logging.getLogger(__name__)

# Of a device's memory, what a step may plan with: the rest is for evaluation, and for holes between
# arrays. A CPU's memory is the machine's, and others use it too.
_SHARE, _SHARE_OF_CPU = 0.9, 0.5
# Sizes between two powers of two.
_BETWEEN = 4
# Seconds that steps of one size are timed, and a step of which larger sizes are not.
_TIMED, _SLOW = 0.5, 2.0

# Of a larger batch.
_RULES_OF_THUMB = (
    "that is {times:.3g} times config.batch_size={batch_size}. Larger is faster only where "
    "images/s still grow,\n"
    "and the same epochs have fewer steps. Rules of thumb for k times the batch: k times the "
    "learning rate\n"
    "of SGD (Goyal et al. 2017), √k times that of Adam and its kind (Malladi et al. 2022); then "
    "look again with\n"
    "  jaxcnn tune learning_rate"
)


class Fit(NamedTuple):
    """The memory and the speed of a batch size.

    memory: bytes of one device. fits: whether it has them. images_per_second: of the steps alone,
    on black images; None where that was not measured.
    """

    batch_size: int
    memory: int
    fits: bool
    images_per_second: float | None = None

    def __str__(self) -> str:
        """A line of the table."""
        speed = "" if self.images_per_second is None else f"{self.images_per_second:,.0f}"
        line = f"{self.batch_size:>10,}  {_bytes(self.memory):>9}  {speed:>9}"
        return line if self.fits else f"{line}  does not fit"


def find_batch_size(config: ConfigDict, output: Path, *, memory: int | None = None) -> str:
    """Writes batch_size.json; returns a table and the largest batch that fits, for a terminal.

    memory: bytes of one device to plan with; None: nine tenths of what it has, on a CPU half of
      what the machine could give now.

    Tried are powers of two, from the config's batch size on, and then sizes between the largest
    that fits and the next. A batch is at most as large as the training set. Raises UserError.
    """
    check_writable(output, "workdir")
    enable_compile_cache()
    config = prepare(config)
    dataset = load_data(config)
    num_train, classes = len(dataset.splits["train"]), len(dataset.class_names)
    describe_parameters(state_maker(config, num_train, classes, dataset.image_shape), ())
    limit, limit_words = memory_limit() if memory is None else (memory, _bytes(memory))
    tried: dict[int, Fit] = {}

    def fits(batch_size: int) -> bool:
        if batch_size not in tried:
            quick = all(
                fit.images_per_second is None or fit.batch_size / fit.images_per_second < _SLOW
                for fit in tried.values()
            )
            tried[batch_size] = try_batch(config, dataset, batch_size, limit, timed=quick)
            logger.info("%s", tried[batch_size])
        return tried[batch_size].fits

    largest = search(fits, config.batch_size, num_train, len(jax.devices()))
    if largest is None:
        least = tried[min(tried)]
        raise UserError(
            f"config.batch_size: even {least.batch_size} takes {_bytes(least.memory)} of "
            f"{limit_words}; give a smaller model or smaller images"
        )
    all_tried = [tried[size] for size in sorted(tried)]
    content = {
        "batch_size": largest,
        "memory_limit": limit,
        "training_images": num_train,
        "devices": [f"{device.platform}: {device.device_kind}" for device in jax.devices()],
        "tried": [fit._asdict() for fit in all_tried],
    }
    files = {"batch_size.json": json.dumps(content, indent=2).encode() + b"\n"}
    write_files(output, files, "workdir")
    lines = [f"{'batch size':>10}  {'memory':>9}  {'images/s':>9}", *map(str, all_tried), ""]
    if largest + len(jax.devices()) > num_train:
        lines.append(f"{largest:,} fits, of {num_train:,} training images, in {limit_words}")
    else:
        lines.append(f"{largest:,} is the largest that fits into {limit_words}")
    times = largest / config.batch_size
    if times > 1:
        lines.append(_RULES_OF_THUMB.format(times=times, batch_size=config.batch_size))
    return "\n".join(lines)


def memory_limit() -> tuple[int, str]:
    """Bytes of one device that a step may plan with, and what they are."""
    devices = jax.local_devices()
    if devices[0].platform == "cpu":
        share, whole = _SHARE_OF_CPU, "the memory that is available now"
        size: float | None = available_memory() / len(devices)
    else:
        share, whole, size = _SHARE, "the device's memory", device_memory()
    if size is None:
        raise UserError(f"{devices[0].device_kind}: does not tell how much memory it has")
    limit = int(share * size)
    return limit, f"{_bytes(limit)} ({100 * share:.0f} % of {whole})"


def available_memory() -> int:
    """Bytes of the machine's memory that a process could have now."""
    try:
        lines = Path("/proc/meminfo").read_text("utf-8").splitlines()
        kilobytes = next(line.split()[1] for line in lines if line.startswith("MemAvailable:"))
        return min(memory_size(), 1024 * int(kilobytes))
    except (OSError, StopIteration):  # no Linux
        return memory_size()


def search(fits: Callable[[int], bool], start: int, most: int, unit: int) -> int | None:
    """The largest batch size that fits, to about a quarter of itself; None if none does.

    fits: asked of powers of two times `unit` first, from about `start`, then of sizes between the
      last two. most: images there are. unit: what a batch size must be a multiple of.
    """
    most = max(most // unit, 1) * unit
    size = min(unit * 2 ** int(math.log2(max(start // unit, 1))), most)
    too_large = most + unit
    while not fits(size):
        if size == unit:
            return None
        size, too_large = max(size // 2 // unit, 1) * unit, size
    while size < most < too_large:
        larger = min(2 * size, most)
        if fits(larger):
            size = larger
        else:
            too_large = larger
    step = max(size // _BETWEEN // unit, 1) * unit
    while too_large - size > step:
        middle = size + (too_large - size) // 2 // step * step
        if fits(middle):
            size = middle
        else:
            too_large = middle
    return size


def try_batch(
    config: ConfigDict, dataset: Dataset, batch_size: int, limit: int, timed: bool = False
) -> Fit:
    """Compiles the train step for a batch size, and times it where it takes less than half of the
    limit.
    """
    values = flatten(config) | {"batch_size": batch_size, "parallel.steps_per_dispatch": None}
    config = resolve(unflatten(values))
    stored = 0
    if dataset.mode == "device":  # there must be room for the images, which are not placed here
        images = {id(split.images): split.images for split in dataset.splits.values()}
        stored = sum(one.image.nbytes for one in images.values() if isinstance(one, Images))
        dataset = dataset._replace(mode="memory")
    run = build_run([config], dataset)
    state, batch = _state_shapes(run), _batch_shapes(run)
    step: Any = compile_step(run.train_step, state, batch)
    plan = step.memory_analysis()
    next_batch = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(batch))
    memory = stored + (
        plan.argument_size_in_bytes
        + plan.output_size_in_bytes
        + plan.temp_size_in_bytes
        - plan.alias_size_in_bytes
        + next_batch // run.parallel.num_devices
    )
    speed = None
    if timed and memory < limit / 2:
        first = run.parallel.place_states([run.make_states[0]()])
        black = run.example_batch("train", own=True)
        speed = batch_size / seconds_a_step(step, first, black, _TIMED, fewest=2)
    return Fit(batch_size, memory, memory <= limit, speed)


def _state_shapes(run: Run) -> Any:
    """The shapes of the state that the train step takes."""
    if run.config.parallel.fsdp > 1:  # how it is split is seen where it lies
        state = run.parallel.place_states([run.make_states[0]()])
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), state
        )
    shapes = jax.eval_shape(run.make_states[0])
    if run.parallel.axis_name is None:
        return shapes
    copies = (run.parallel.num_devices,)  # `pmap` has one on each device
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(copies + x.shape, x.dtype), shapes)


def _batch_shapes(run: Run) -> Any:
    """The shapes of its batch: one image for each device is placed, to see how batches lie."""
    count, split = run.parallel.num_devices, run.dataset.splits["train"]
    few: dict[str, np.ndarray] = train_rows(split, run.samplings[0], 0, count)
    few["image"] = np.zeros((count, *split.images.shape), np.uint8)
    axis = 0 if run.parallel.axis_name is None else 1
    times = run.config.batch_size // count

    def larger(leaf: jax.Array | np.ndarray) -> jax.ShapeDtypeStruct:
        shape = [n * times if k == axis else n for k, n in enumerate(leaf.shape)]
        sharding = leaf.sharding if axis == 0 and isinstance(leaf, jax.Array) else None
        return jax.ShapeDtypeStruct(shape, leaf.dtype, sharding=sharding)

    return jax.tree.map(larger, run.parallel.place_batch(StepInput(few)))


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
