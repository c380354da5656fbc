"""From configs to devices: how runs are laid out on them."""

import logging
from collections.abc import Sequence

import jax
from ml_collections import ConfigDict

from jaxcnn.config.durations import Plan
from jaxcnn.core.step import Interceptor
from jaxcnn.errors import UserError
from jaxcnn.native.formulations import native_formulations
from jaxcnn.runtime.compile import formulations
from jaxcnn.runtime.mesh import (
    Parallel,
    all_devices,
    check_batch_size,
    fsdp_parallel,
    make_parallel,
    population_parallel,
)

logger = logging.getLogger(__name__)

# Train steps in one program on accelerators, of batches that have few pixels: such a step may take
# less time than the host needs to start it. With larger ones nothing is won, and a signal has to
# wait for two programs.
_STEPS, _PIXELS = 16, 2**21


def build_parallel(configs: Sequence[ConfigDict]) -> Parallel:
    """Returns what `config.parallel` names for one run, a population for several; UserError where
    the devices do not divide the batch, also of a population, whose members may go on alone.
    """
    options, batch_size, devices = configs[0].parallel, configs[0].batch_size, all_devices()
    if len(configs) > 1:
        check_batch_size(batch_size, devices)
        return population_parallel(devices, len(configs))
    parallel = make_parallel(options.mode, batch_size, devices)
    return parallel if options.fsdp == 1 else fsdp_parallel(devices, options.fsdp)


def build_interceptor(config: ConfigDict, training: bool = True) -> Interceptor | None:
    """Returns what the steps call a model's layers through: `runtime.compile.formulations`."""
    native = config.parallel.native
    return formulations(jax.default_backend(), jax.device_count(), native, training)


def has_native_layers(config: ConfigDict) -> bool:
    """Whether the steps call native code, whose last bits differ from XLA's."""
    return build_interceptor(config) is native_formulations


def steps_per_dispatch(
    config: ConfigDict, plan: Plan, parallel: Parallel, mode: str, pixels: int
) -> int:
    """Returns how many train steps are one program where nothing else is due between them.

    On a CPU it is one: XLA:CPU runs convolutions inside loops on slow paths. mode: where the data
    set's images wait. pixels: of an image. Raises UserError for what is not possible.
    """
    asked, most = config.parallel.steps_per_dispatch, plan.most_steps_per_dispatch()
    possible = parallel.place_batches is not None and mode == "device"
    if asked is not None and asked > 1 and not possible:
        if parallel.place_batches is None and config.parallel.mode == "jit":
            return 1  # a population, which is many steps in one program already
        why = "parallel.mode=pmap" if parallel.place_batches is None else f"data.mode={mode}"
        raise UserError(
            f"config.parallel.steps_per_dispatch={asked}: is for parallel.mode=jit with "
            f"data.mode=device; {why} takes a step at a time: leave it out"
        )
    if asked is None:
        few = config.batch_size * pixels <= _PIXELS * parallel.num_devices
        asked = _STEPS if possible and few and jax.default_backend() != "cpu" else 1
    elif asked > most:
        line = "config.parallel.steps_per_dispatch=%d: after %d steps a line, an evaluation or a "
        logger.warning(line + "checkpoint is due; so many are one program", asked, most)
    if asked > 1 and jax.default_backend() == "cpu":
        logger.warning("on a CPU a program of several steps takes many times as long a step")
    return min(asked, most)
