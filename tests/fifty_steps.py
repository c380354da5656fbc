"""Fifty steps in float64, as one of several processes; the first prints their losses as JSON.

python -m tests.fifty_steps MODES --coordinator=... --num-processes=... --process-id=...
"""

import json
import sys

import jax
import numpy as np

from jaxcnn.runtime.distributed import connect, is_first
from jaxcnn.runtime.mesh import all_devices, make_parallel
from tests.steps import build, fresh_state, real_batch


def main(modes, *flags):
    given = dict(flag.removeprefix("--").split("=") for flag in flags)
    connect(given["coordinator"], int(given["num-processes"]), int(given["process-id"]))
    with jax.enable_x64(True):
        losses = {mode: fifty_losses(mode, all_devices()) for mode in modes.split(",")}
    if is_first():
        print(json.dumps(losses))


def fifty_losses(mode, devices):
    """[50], each step on 32 digits."""
    parallel = make_parallel(mode, 32, devices)
    *_, train_step, _ = build(parallel.axis_name, np.float64)
    step = parallel.transform(train_step, donate=True)
    state, losses = parallel.place_state(fresh_state(dtype=np.float64)), []
    for k in range(50):
        batch = {name: v[parallel.share(32)] for name, v in real_batch(32, start=20 * k).items()}
        state, metrics = step(state, parallel.place_batch(batch))
        losses.append(float(jax.device_get(parallel.member(metrics["loss"], 0))))
    return losses


if __name__ == "__main__":
    main(*sys.argv[1:])
