"""A run put together: the steps of a config, for a data set, on some devices."""

import dataclasses
import logging
import math
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from clu import parameter_overview
from jax.sharding import SingleDeviceSharding
from ml_collections import ConfigDict

from jaxcnn.build import build_augment, build_loss, build_model, build_sampling
from jaxcnn.build_optimizer import build_average, build_optimizer, build_rules, build_schedule
from jaxcnn.config import flatten
from jaxcnn.core.augment import normalize
from jaxcnn.core.rules import Rule, RuleMismatch, rule_table
from jaxcnn.core.state import TrainState, create_train_state
from jaxcnn.core.step import Normalize, make_eval_step, make_gradients, make_train_step
from jaxcnn.core.store import from_store
from jaxcnn.data.pipeline import Batch, Sampling, eval_batches, train_batches, train_rows
from jaxcnn.data.sample import sample_images
from jaxcnn.data.source import Dataset, Images, Split
from jaxcnn.durations import Plan, make_plan
from jaxcnn.errors import UserError
from jaxcnn.evaluation import evaluate
from jaxcnn.runtime.checkpoint import Checkpoints
from jaxcnn.runtime.compile import compile_step
from jaxcnn.runtime.mesh import Parallel
from jaxcnn.runtime.window import NonFiniteLoss

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Run:
    """What the loop needs: the steps of a config, for a data set, on some devices.

    stores: by role, the images on the devices where the data set's mode is "device".
    from_data: first variables -> those with what the model takes from the training images.
    """

    config: ConfigDict
    dataset: Dataset
    sampling: Sampling
    stores: dict[str, Any]
    plan: Plan
    parallel: Parallel
    schedule: optax.Schedule
    rules: tuple[Rule, ...]
    make_state: Callable[..., TrainState]
    from_data: Callable[[dict[str, Any]], dict[str, Any]]
    train_step: Callable[..., Any]
    eval_step: Callable[..., Any]
    gradients: Callable[..., Any]

    def train_batches(self, start: int) -> Iterator[Any]:
        """The placed batches of the updates from `start` (from 0) to the end."""
        split, config = self.dataset.splits["train"], self.config
        steps = range(start, self.plan.num_steps)
        on_host = self.dataset.mode != "device"
        batches = train_batches(
            split, self.sampling, config.seed, steps, config.batch_size, with_images=on_host
        )
        return (self._place(batch, "train") for batch in batches)

    def example_batch(self) -> Any:
        """A placed batch of black images, to compile for."""
        split, batch_size = self.dataset.splits["train"], self.config.batch_size
        batch = train_rows(split, self.sampling, 0, batch_size)
        if self.dataset.mode != "device":
            batch["image"] = np.zeros((batch_size, *split.images.shape), np.uint8)
        return self._place(batch, "train")

    def _place(self, batch: Batch, role: str) -> Any:
        placed = self.parallel.place_batch(batch)
        if self.dataset.mode == "device":
            placed["store"] = self.stores[role]
        return placed

    def epoch(self, step: int) -> float:
        """How often each training example has been seen after `step` updates (on
        average, with balanced sampling).
        """
        return step * self.config.batch_size / len(self.dataset.splits["train"])

    def histograms(self, state: TrainState, batch: Any) -> dict[str, np.ndarray]:
        """The parameters of a state, and the gradients that a placed batch gives them, by name."""
        grads, *_ = self.gradients(state, batch)
        both = {"params": state.params, "gradients": grads}
        leaves = jax.tree_util.tree_leaves_with_path(jax.device_get(self.parallel.one_copy(both)))
        return {"/".join(str(key.key) for key in path): leaf for path, leaf in leaves}

    def evaluate(self, state: TrainState, role: str) -> dict[str, float]:
        """Metrics of a state on the examples of a role; NonFiniteLoss if its loss is none."""
        on_host = self.dataset.mode != "device"
        batches = eval_batches(self.dataset.splits[role], self.config.batch_size, on_host)
        placed = (self._place(batch, role) for batch in batches)
        metrics = evaluate(self.eval_step, state, placed, self.parallel)
        if not math.isfinite(metrics["loss"]):
            step = int(self.parallel.one_copy(state.step))
            raise NonFiniteLoss(step, metrics["loss"], f"{role} loss")
        return metrics


def build_run(
    config: ConfigDict, dataset: Dataset, facts: dict[str, Any], parallel: Parallel
) -> Run:
    """Builds all that `config` names; facts: the content of `dataset.json`."""
    num_train = len(dataset.splits["train"])
    if config.batch_size > num_train:
        raise UserError(
            f"config.batch_size={config.batch_size}: there are {num_train:,} training images; give "
            "at most as many"
        )
    plan = make_plan(flatten(config), num_train)
    num_classes = len(dataset.class_names)
    counts = np.bincount(dataset.splits["train"].label, minlength=num_classes)
    schedule = build_schedule(config, plan)
    _check_plan(plan, config.optimizer.accumulate, dataset)
    model = build_model(config, num_classes, parallel.axis_name)
    rules = build_rules(config, plan, model, dataset.image_shape)
    tx = build_optimizer(config, schedule, rules, model, dataset.image_shape)
    preprocess = partial(normalize, mean=facts["mean"], std=facts["std"])
    # Under `pmap` a step sees its device's share of a batch.
    seen_at_once = config.batch_size // (parallel.num_devices if parallel.axis_name else 1)
    how: dict[str, Any] = {
        "augment": build_augment(config, num_classes, dataset.image_shape, seen_at_once),
        "normalize": preprocess,
        "loss_fn": build_loss(config, counts),
        "axis_name": parallel.axis_name,
        "rules": rules,
    }
    average = build_average(config, plan)
    train_step = make_train_step(model, tx, average=average, **how)
    gradients = make_gradients(model, **how)
    eval_step = make_eval_step(model, normalize=preprocess, axis_name=parallel.axis_name)
    if dataset.mode == "device":
        train_step, eval_step = from_store(train_step), from_store(eval_step)
        gradients = from_store(gradients)
    return Run(
        config=config,
        dataset=dataset,
        sampling=build_sampling(config, dataset.splits["train"]),
        stores=_place_images(dataset, parallel),
        plan=plan,
        parallel=parallel,
        # The rate of an update is that of the first of its steps.
        schedule=lambda step: schedule(step - step % config.optimizer.accumulate),
        rules=rules,
        make_state=_state_maker(config, tx, average is not None, num_classes, dataset.image_shape),
        from_data=partial(_from_data, model, preprocess, dataset.splits["train"]),
        train_step=parallel.transform(train_step, donate=True),
        eval_step=parallel.transform(eval_step, donate=False),
        gradients=parallel.transform(gradients, donate=False),
    )


def _check_plan(plan: Plan, accumulate: int, dataset: Dataset) -> None:
    """UserError for what the data do not allow; warnings for what comes to nothing."""
    if (plan.warmup_steps or 0) >= plan.num_steps:
        told = "the warm-up of %d steps does not end within the %d steps of the run"
        logger.warning(told, plan.warmup_steps, plan.num_steps)
    if plan.patience is not None and "validation" not in dataset.splits:
        raise UserError(
            "config.early_stop.patience: there are no validation images to decide by; give a "
            "config.data.holdout"
        )
    if unused := plan.num_steps % accumulate:
        told = "config.optimizer.accumulate=%d: the last %d of %d steps make no whole update"
        logger.warning(told, accumulate, unused, plan.num_steps)


def state_maker(
    config: ConfigDict, num_train: int, num_classes: int, image_shape: tuple[int, int, int]
) -> Callable[..., TrainState]:
    """What gives the state a run begins with, of the variables that it is given or of fresh ones.

    num_train: examples in an epoch; schedules depend on it.
    """
    plan, model = make_plan(flatten(config), num_train), build_model(config, num_classes)
    rules = build_rules(config, plan, model, image_shape)
    tx = build_optimizer(config, build_schedule(config, plan), rules, model, image_shape)
    averaged = build_average(config, plan) is not None
    return _state_maker(config, tx, averaged, num_classes, image_shape)


def _state_maker(
    config: ConfigDict,
    tx: optax.GradientTransformation,
    averaged: bool,
    num_classes: int,
    image_shape: tuple[int, int, int],
) -> Callable[..., TrainState]:
    # Parameters do not depend on how a step is mapped over devices: the model has no axis.
    model, seed = build_model(config, num_classes), config.seed

    def make_state(variables: dict[str, Any] | None = None) -> TrainState:
        key = jax.random.key(seed)
        return create_train_state(model, tx, key, image_shape, variables, averaged=averaged)

    return make_state


def _from_data(
    model: Any, preprocess: Normalize, split: Split, variables: dict[str, Any]
) -> dict[str, Any]:
    """The same variables for a model that takes nothing from the training images. A function of
    the data and the variables, whatever the devices, so that every process gets the same.
    """
    if not hasattr(model, "init_from_data"):
        return variables
    images = np.asarray(preprocess(jnp.asarray(sample_images(split), jnp.float32)))
    return model.init_from_data(variables, images)


def _place_images(dataset: Dataset, parallel: Parallel) -> dict[str, Any]:
    """Puts the images on the devices, once where roles share them."""
    if dataset.mode != "device":
        return {}
    placed: dict[int, Any] = {}
    for split in dataset.splits.values():
        if isinstance(split.images, Images) and id(split.images) not in placed:
            placed[id(split.images)] = parallel.place_state(split.images.image)
    return {role: placed[id(split.images)] for role, split in dataset.splits.items()}


def first_state(
    run: Run,
    checkpoints: Checkpoints,
    begin_with: Callable[[dict[str, Any]], tuple[dict[str, Any], dict[str, Any] | None]],
) -> tuple[TrainState, int, dict[str, Any] | None]:
    """The newest whole checkpoint, or what a run begins with; placed on the devices. With its step,
    and where the weights are from if others have trained them.

    begin_with: `begin_with(fresh variables) -> (variables, origin)`, asked where there is no
      checkpoint; with the origin None nothing has been replaced.
    """
    clock = time.perf_counter()
    try:
        like = state_shapes(run.make_state)
    except RuleMismatch as error:
        raise UserError(f"config.optimizer.rules: {error}") from error
    except ValueError as error:  # the model's own, which quote the keyword and its value
        raise UserError(f"config.model: {error}") from error
    logger.info("%s", parameter_overview.get_parameter_overview(like.params, include_stats=False))
    if run.rules:
        logger.info("rules for parameters:\n%s", rule_table(run.rules, like.params))
    origin = None
    if (found := checkpoints.restore_latest(like)) is not None:
        state, step = found
        what = f"resuming from step {step} of {run.plan.num_steps}"
    else:
        state, step = jax.jit(run.make_state)(), 0
        fresh = state.variables
        variables, origin = begin_with(fresh)
        if origin is None:
            variables = run.from_data(variables)
        if variables is not fresh:  # an optimiser's state, too, may begin with them
            state = jax.jit(run.make_state)(variables)
        what = "state initialised"
    state = run.parallel.place_state(state)
    logger.info("%s (%.1f s)", what, time.perf_counter() - clock)
    return state, step, origin


def state_shapes(make_state: Callable[..., TrainState]) -> TrainState:
    """What a state looks like when one device holds it: how checkpoints are written and read."""
    one_device = SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=one_device),
        jax.eval_shape(make_state),
    )


def compile_run(run: Run, state: TrainState) -> Run:
    """The run with its steps compiled for states like this one."""
    clock = time.perf_counter()
    batch = run.example_batch()
    run = dataclasses.replace(
        run,
        train_step=compile_step(run.train_step, state, batch),
        eval_step=compile_step(run.eval_step, state, batch),
    )
    logger.info(
        "compiled for %d %s device%s (%.1f s)",
        run.parallel.num_devices,
        jax.default_backend(),
        "" if run.parallel.num_devices == 1 else "s",
        time.perf_counter() - clock,
    )
    return run
