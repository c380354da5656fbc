"""What a run begins with: a fresh state, trained weights, or its newest checkpoint."""

import logging
import time
import zlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from clu import parameter_overview
from ml_collections import ConfigDict

from jaxcnn.builders.data import build_model
from jaxcnn.builders.optimizer import build_average, build_optimizer, build_rules, build_schedule
from jaxcnn.config.durations import make_plan
from jaxcnn.config.keys import flatten
from jaxcnn.core.rules import Rule, RuleMismatch, rule_table
from jaxcnn.core.state import TrainState, create_train_state
from jaxcnn.core.step import Normalize
from jaxcnn.data.pipeline import sample_images
from jaxcnn.data.source import Split
from jaxcnn.errors import UserError
from jaxcnn.runtime.checkpoint import Checkpoints
from jaxcnn.runtime.mesh import local_copy, one_copy_sharding

logger = logging.getLogger(__name__)

# (variables or None) -> the state a run begins with, of these or of fresh ones
StateMaker = Callable[..., TrainState]
# fresh variables -> (variables to begin with, where they are from; None if they are the fresh ones)
BeginWith = Callable[[dict[str, Any]], tuple[dict[str, Any], dict[str, Any] | None]]


def state_maker(
    config: ConfigDict, num_train: int, num_classes: int, image_shape: tuple[int, int, int]
) -> StateMaker:
    """Returns what makes a run's first state. num_train: examples in an epoch, for schedules."""
    plan, model = make_plan(flatten(config), num_train), build_model(config, num_classes)
    rules = build_rules(config, plan, model, image_shape)
    tx = build_optimizer(config, build_schedule(config, plan), rules, model, image_shape)
    averaged = build_average(config, plan) is not None
    return state_makers([config.seed], model, tx, averaged, image_shape)[0]


def state_makers(
    seeds: list[int],
    model: nn.Module,
    tx: optax.GradientTransformation,
    averaged: bool,
    image_shape: tuple[int, int, int],
) -> tuple[StateMaker, ...]:
    """Returns a maker for each seed; all run one compiled program."""

    @jax.jit
    def make_state(key: jax.Array, variables: dict[str, Any] | None = None) -> TrainState:
        return create_train_state(model, tx, key, image_shape, variables, averaged=averaged)

    return tuple(partial(make_state, jax.random.key(seed)) for seed in seeds)


def state_shapes(make_state: StateMaker) -> TrainState:
    """Returns the shapes of a state on one device: how checkpoints are written and read."""
    sharding = one_copy_sharding()
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        jax.eval_shape(make_state),
    )


def describe_parameters(make_state: StateMaker, rules: tuple[Rule, ...]) -> None:
    """Logs a model's parameters and their rules; UserError for what does not fit."""
    try:
        params = state_shapes(make_state).params
    except RuleMismatch as error:
        raise UserError(f"config.optimizer.rules: {error}") from error
    except ValueError as error:  # the model's own, which quote the keyword and its value
        raise UserError(f"config.model: {error}") from error
    logger.info("%s", parameter_overview.get_parameter_overview(params, include_stats=False))
    if rules:
        logger.info("rules for parameters:\n%s", rule_table(rules, params))


def first_state(
    make_state: StateMaker,
    from_data: Callable[[dict[str, Any]], dict[str, Any]],
    checkpoints: Checkpoints,
    begin_with: BeginWith,
) -> tuple[TrainState, int, dict[str, Any] | None]:
    """Returns the newest whole checkpoint, or what a run begins with; its step; and where the
    weights are from if others have trained them.

    from_data: first variables -> those with what the model takes from the training images.
    begin_with: called where there is no checkpoint.
    """
    clock = time.perf_counter()
    if (restored := checkpoints.restore_latest(state_shapes(make_state))) is not None:
        state, step = restored
        logger.info("resuming from step %d (%.1f s)", step, time.perf_counter() - clock)
        return state, step, None
    state = make_state()
    fresh = state.variables
    variables, origin = begin_with(fresh)
    if origin is None:
        variables = from_data(variables)
    if variables is not fresh:  # an optimiser's state, too, may begin with them
        state = make_state(variables)
    logger.info("state initialised (%.1f s)", time.perf_counter() - clock)
    return state, 0, origin


def checksum(states: Sequence[TrainState]) -> str:
    """Returns one of the bytes of their parameters, to be compared between processes."""
    number = 0
    for leaf in jax.tree.leaves([local_copy(state.params) for state in states]):
        number = zlib.crc32(np.asarray(leaf).tobytes(), number)
    return f"{number:08x}"


def from_images(
    model: Any, preprocess: Normalize, split: Split, variables: dict[str, Any]
) -> dict[str, Any]:
    """Returns the variables with what the model takes from the training images, if anything. A
    function of data and variables, whatever the devices: every process gets the same.
    """
    if not hasattr(model, "init_from_data"):
        return variables
    images = np.asarray(preprocess(jnp.asarray(sample_images(split), jnp.float32)))
    return model.init_from_data(variables, images)
