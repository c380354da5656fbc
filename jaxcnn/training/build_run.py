"""From configs and data to a run, and its steps compiled."""

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import jax
import numpy as np
import optax
from ml_collections import ConfigDict

from jaxcnn.builders.data import build_augment, build_loss, build_model, build_sampling
from jaxcnn.builders.devices import build_interceptor, build_parallel, steps_per_dispatch
from jaxcnn.builders.optimizer import build_average, build_optimizer, build_rules, build_schedule
from jaxcnn.config.durations import Plan, make_plan
from jaxcnn.config.keys import flatten
from jaxcnn.core.augment import normalize
from jaxcnn.core.state import TrainState
from jaxcnn.core.step import TrainStep, make_eval_step, make_gradients, make_train_step
from jaxcnn.core.step_wrappers import ON_NONFINITE, scan_steps, with_input, with_signal
from jaxcnn.data.source import Dataset, Images
from jaxcnn.errors import UserError
from jaxcnn.runtime.compile import compile_lowered
from jaxcnn.runtime.memory import peak_flops, step_flops
from jaxcnn.runtime.mesh import Parallel
from jaxcnn.training.first_state import from_images, state_makers
from jaxcnn.training.population import differing_values, step_of_members
from jaxcnn.training.resume import describe_data
from jaxcnn.training.run import Run

logger = logging.getLogger(__name__)


def build_run(
    configs: Sequence[ConfigDict],
    dataset: Dataset,
    facts: dict[str, Any] | None = None,
    parallel: Parallel | None = None,
    schedule_of: Callable[[ConfigDict, Plan], optax.Schedule] = build_schedule,
) -> Run:
    """Builds all that the members' configs name.

    facts: the content of `dataset.json`, parallel: how the members lie on the devices; None: those
      of a new run. schedule_of: what gives a config's learning rate, where that is not its own.
    """
    config = configs[0]
    facts = describe_data(config, dataset, None) if facts is None else facts
    parallel = build_parallel(configs) if parallel is None else parallel
    num_train = len(dataset.splits["train"])
    if config.batch_size > num_train:
        raise UserError(
            f"config.batch_size={config.batch_size}: there are {num_train:,} training images; give "
            "at most as many"
        )
    plan = make_plan(flatten(config), num_train)
    num_classes = len(dataset.class_names)
    counts = np.bincount(dataset.splits["train"].label, minlength=num_classes)
    _check_plan(plan, config.optimizer.accumulate, dataset)
    model = build_model(config, num_classes, parallel.axis_name)
    rules = build_rules(config, plan, model, dataset.image_shape)
    average = build_average(config, plan)
    preprocess = partial(normalize, mean=facts["mean"], std=facts["std"])
    # Under `pmap` a step sees its device's share of a batch.
    seen_at_once = config.batch_size // (parallel.num_devices if parallel.axis_name else 1)
    options: dict[str, Any] = {
        "augment": build_augment(config, num_classes, dataset.image_shape, seen_at_once),
        "normalize": preprocess,
        "axis_name": parallel.axis_name,
        "rules": rules,
        "interceptor": build_interceptor(config),
    }

    def tx_of(config: ConfigDict) -> optax.GradientTransformation:
        schedule = schedule_of(config, plan)
        return build_optimizer(config, schedule, rules, model, dataset.image_shape)

    def train_step_of(config: ConfigDict) -> TrainStep:
        loss_fn = build_loss(config, counts)
        step = make_train_step(model, tx_of(config), average=average, loss_fn=loss_fn, **options)
        return ON_NONFINITE[config.on_nonfinite](step)

    def gradients_of(config: ConfigDict) -> Callable[..., Any]:
        return make_gradients(model, loss_fn=build_loss(config, counts), **options)

    values = differing_values(configs)
    train_step, gradients = (
        step_of_members(make, config, values) for make in (train_step_of, gradients_of)
    )
    train_step = with_signal(train_step, parallel.axis_name)
    eval_step = make_eval_step(
        model,
        normalize=preprocess,
        axis_name=parallel.axis_name,
        interceptor=build_interceptor(config, training=False),
    )
    # Parameters do not depend on how a step is mapped over devices: this model has no axis.
    bare = build_model(config, num_classes)
    return Run(
        configs=tuple(configs),
        dataset=dataset,
        samplings=tuple(build_sampling(one, dataset.splits["train"]) for one in configs),
        stores=_place_images(dataset, parallel),
        values=parallel.place_states(values) if any(values) else {},
        plan=plan,
        parallel=parallel,
        schedules=tuple(_rate(schedule_of(one, plan), one) for one in configs),
        rules=rules,
        make_states=state_makers(
            [c.seed for c in configs], bare, tx_of(config), average is not None, dataset.image_shape
        ),
        from_data=partial(from_images, model, preprocess, dataset.splits["train"]),
        train_step=parallel.transform(train_step, donate=True),
        train_steps=parallel.transform(scan_steps(train_step), donate=True),
        steps_per_dispatch=steps_per_dispatch(
            config, plan, parallel, dataset.mode, math.prod(dataset.image_shape[:2])
        ),
        eval_steps=dict.fromkeys(
            dataset.splits, parallel.transform(with_input(eval_step), donate=False)
        ),
        gradients=parallel.transform(gradients, donate=False),
    )


def _rate(schedule: optax.Schedule, config: ConfigDict) -> optax.Schedule:
    """The rate of an update is that of the first of its steps."""
    return lambda step: schedule(step - step % config.optimizer.accumulate)


def _check_plan(plan: Plan, accumulate: int, dataset: Dataset) -> None:
    """UserError for what the data do not allow; warnings for what comes to nothing."""
    if (plan.warmup_steps or 0) >= plan.num_steps:
        message = "the warm-up of %d steps does not end within the %d steps of the run"
        logger.warning(message, plan.warmup_steps, plan.num_steps)
    if plan.patience is not None and "validation" not in dataset.splits:
        raise UserError(
            "config.early_stop.patience: there are no validation images to decide by; give a "
            "config.data.holdout"
        )
    if unused := plan.num_steps % accumulate:
        message = "config.optimizer.accumulate=%d: the last %d of %d steps make no whole update"
        logger.warning(message, accumulate, unused, plan.num_steps)


def _place_images(dataset: Dataset, parallel: Parallel) -> dict[str, Any]:
    """Puts the images on the devices, once where roles share them."""
    if dataset.mode != "device":
        return {}
    placed: dict[int, Any] = {}
    for split in dataset.splits.values():
        if isinstance(split.images, Images) and id(split.images) not in placed:
            placed[id(split.images)] = parallel.place_state(split.images.image)
    return {role: placed[id(split.images)] for role, split in dataset.splits.items()}


def compile_run(run: Run, state: TrainState) -> Run:
    """The run with its steps compiled for states like this one."""
    if run.parallel.axis_name is not None and jax.process_count() > 1:
        return run  # compiled ahead, `pmap` would not take what is a process' own part
    clock = time.perf_counter()
    batch = run.example_batch("train", own=True)
    steps = {"train_step": run.train_step.lower(state, batch)}
    if run.steps_per_dispatch > 1:
        steps["train_steps"] = run.train_steps.lower(state, run.example_batches())
    for role, step in run.eval_steps.items():
        if (name := f"eval {id(run.stores.get(role))}") not in steps:
            steps[name] = step.lower(state, run.example_batch(role, own=False))
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


def _least_step_ms(run: Run, train_step: Any) -> float | None:
    """train_step: lowered."""
    peak = peak_flops(jax.devices())
    flops = None if peak is None else step_flops(train_step)
    if peak is None or flops is None:
        return None
    shares = run.parallel.num_devices if run.parallel.axis_name else 1  # `pmap` counts one
    return 1e3 * flops * shares / peak
