"""The steps of a run, compiled."""

import dataclasses
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

from jaxcnn.core.state import TrainState
from jaxcnn.runtime.compile import compile_lowered
from jaxcnn.runtime.peak import peak_flops, step_flops
from jaxcnn.training.run import Run

logger = logging.getLogger(__name__)


def compile_run(run: Run, state: TrainState) -> Run:
    """The run with its steps compiled for states like this one."""
    if run.parallel.axis_name is not None and jax.process_count() > 1:
        return run  # compiled ahead, `pmap` would not take what is a process' own part
    clock = time.perf_counter()
    batch = run.example_batch("train", own=True)
    steps = {"train_step": _lower(run.train_step, state, batch)}
    if run.steps_at_once > 1:
        steps["train_steps"] = _lower(run.train_steps, state, run.example_batches())
    for role, step in run.eval_steps.items():
        if (name := f"eval {id(run.stores.get(role))}") not in steps:
            steps[name] = _lower(step, state, run.example_batch(role, own=False))
    least_step_ms = _least_step_ms(run, steps["train_step"])
    # Python traces one after the other; XLA compiles without it.
    with ThreadPoolExecutor() as pool:
        compiled = dict(zip(steps, pool.map(compile_lowered, steps.values()), strict=True))
    run = dataclasses.replace(
        run,
        least_step_ms=least_step_ms,
        train_step=compiled["train_step"],
        train_steps=compiled.get("train_steps", run.train_steps),
        eval_steps={role: compiled[f"eval {id(run.stores.get(role))}"] for role in run.eval_steps},
    )
    logger.info(
        "compiled for %d %s device%s (%.1f s)",
        jax.device_count(),
        jax.default_backend(),
        "" if jax.device_count() == 1 else "s",
        time.perf_counter() - clock,
    )
    return run


def _lower(step: Any, state: TrainState, batch: Any) -> Any:
    return step.lower(state, batch)


def _least_step_ms(run: Run, train_step: Any) -> float | None:
    """train_step: lowered."""
    peak = peak_flops(jax.devices())
    flops = None if peak is None else step_flops(train_step)
    if peak is None or flops is None:
        return None
    shares = run.parallel.num_devices if run.parallel.axis_name else 1  # `pmap` counts one
    return 1e3 * flops * shares / peak
