"""From configs to how their runs lie on the devices."""

from collections.abc import Sequence

from ml_collections import ConfigDict

from jaxcnn.runtime.fsdp import fsdp_parallel
from jaxcnn.runtime.mesh import (
    Parallel,
    all_devices,
    check_batch_size,
    make_parallel,
    population_parallel,
)


def build_parallel(configs: Sequence[ConfigDict]) -> Parallel:
    """For one run what `config.parallel` names, for several a population; UserError where the
    devices do not divide the batch, also of a population, whose members may go on alone.
    """
    wanted, batch_size, devices = configs[0].parallel, configs[0].batch_size, all_devices()
    if len(configs) > 1:
        check_batch_size(batch_size, devices)
        return population_parallel(devices, len(configs))
    parallel = make_parallel(wanted.mode, batch_size, devices)
    return parallel if wanted.fsdp == 1 else fsdp_parallel(devices, wanted.fsdp)
