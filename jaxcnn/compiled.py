"""The steps of a run, compiled."""

import dataclasses
import logging
import time
from collections.abc import Callable
from typing import Any

import jax

from jaxcnn.core.state import TrainState
from jaxcnn.run import Run
from jaxcnn.runtime.compile import compile_step
from jaxcnn.runtime.peak import peak_flops, step_flops

logger = logging.getLogger(__name__)


def compile_run(run: Run, state: TrainState) -> Run:
    """The run with its steps compiled for states like this one."""
    if run.parallel.axis_name is not None and jax.process_count() > 1:
        return run  # compiled ahead, `pmap` would not take what is a process' own part
    clock = time.perf_counter()
    compiled: dict[int, Callable[..., Any]] = {}
    for role, step in run.eval_steps.items():
        if id(run.stores.get(role)) not in compiled:
            batch = run.example_batch(role, own=False)
            compiled[id(run.stores.get(role))] = compile_step(step, state, batch)
    batch = run.example_batch("train", own=True)
    run = dataclasses.replace(
        run,
        least_step_ms=_least_step_ms(run, state, batch),
        train_step=compile_step(run.train_step, state, batch),
        eval_steps={role: compiled[id(run.stores.get(role))] for role in run.eval_steps},
    )
    logger.info(
        "compiled for %d %s device%s (%.1f s)",
        jax.device_count(),
        jax.default_backend(),
        "" if jax.device_count() == 1 else "s",
        time.perf_counter() - clock,
    )
    return run


def _least_step_ms(run: Run, state: TrainState, batch: Any) -> float | None:
    peak = peak_flops(jax.devices())
    flops = None if peak is None else step_flops(run.train_step, state, batch)
    if peak is None or flops is None:
        return None
    shares = run.parallel.num_devices if run.parallel.axis_name else 1  # `pmap` counts one
    return 1e3 * flops * shares / peak
