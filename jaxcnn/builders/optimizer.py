"""From a config to a model's training: schedule, rules, optimiser, average."""

import logging
from collections.abc import Sequence

import flax.linen as nn
import optax
from ml_collections import ConfigDict

from jaxcnn.config.choices import parameters_of
from jaxcnn.config.durations import Plan
from jaxcnn.config.keys import chosen, keywords
from jaxcnn.core.average import AVERAGES, Average, make_average
from jaxcnn.core.optim import make_optimizer
from jaxcnn.core.rules import Rule, head_of, layer_decay_rules, parameter_stages
from jaxcnn.errors import UserError

logger = logging.getLogger(__name__)

# Of `config.optimizer`: what `make_optimizer` takes whatever the optimiser.
_OWN_KEYS = ("weight_decay", "clip_value", "clip_adaptive", "clip_norm", "lookahead_steps",
             "lookahead_share", "accumulate", "decay_biases")  # fmt: skip


def build_schedule(config: ConfigDict, plan: Plan) -> optax.Schedule:
    """Returns the learning rate as a function of the step."""
    options, schedule = keywords(config, "schedule"), chosen(config, "schedule")
    if plan.warmup_steps is not None:
        options["warmup_steps"] = plan.warmup_steps
        if "warmup_steps" not in parameters_of(schedule):
            raise UserError(
                f"config.schedule.warmup: schedule {config.schedule.name!r} has no parameter "
                "'warmup_steps'"
            )
    try:
        return schedule(config.optimizer.learning_rate, plan.num_steps, **options)
    except ValueError as error:
        raise UserError(f"config.schedule: {error}") from error


def build_rules(
    config: ConfigDict, plan: Plan, model: nn.Module, image_shape: tuple[int, int, int]
) -> tuple[Rule, ...]:
    """Returns the rules of `config.optimizer` for some parameters; () if there are none."""
    if config.optimizer.layer_decay is not None:
        stages = _stages(config, "layer_decay", model, image_shape)
        return layer_decay_rules(stages, config.optimizer.layer_decay)
    return tuple(
        Rule(
            pattern,
            given.get("learning_rate", 1.0),
            given.get("weight_decay", 1.0),
            frozen,
            # What does not learn stays as it was altogether.
            given.get("freeze_statistics", frozen is True),
        )
        for (pattern, given), frozen in zip(config.optimizer.rules, plan.frozen, strict=True)
    )


def build_optimizer(
    config: ConfigDict,
    schedule: optax.Schedule,
    rules: Sequence[Rule],
    model: nn.Module,
    image_shape: tuple[int, int, int],
) -> optax.GradientTransformation:
    """Returns the Optax chain `config.optimizer` names."""
    options = keywords(config, "optimizer") | {key: config.optimizer[key] for key in _OWN_KEYS}
    if config.optimizer.clip_adaptive is not None:
        options["head"] = head_of(_stages(config, "clip_adaptive", model, image_shape))
    try:
        return make_optimizer(chosen(config, "optimizer"), schedule, rules=rules, **options)
    except (TypeError, ValueError) as error:  # Optax's, of a value it cannot use
        raise UserError(f"config.optimizer: {config.optimizer.name}: {error}") from error


def _stages(
    config: ConfigDict, key: str, model: nn.Module, image_shape: tuple[int, int, int]
) -> dict[str, str]:
    """Returns the stages of a model's parameters; UserError for the key that needs them."""
    try:
        return parameter_stages(model, image_shape)
    except ValueError as error:
        value = config.optimizer[key]
        raise UserError(f"config.optimizer.{key}={value!r}: {error}") from error


def build_average(config: ConfigDict, plan: Plan) -> Average | None:
    """Returns the average of the model that `config.ema` asks for, or None."""
    if config.ema.kind == "exponential" and config.ema.decay is None:
        return None
    every, lookahead = config.ema.every, config.ema.lookahead
    if plan.average_from + every > plan.num_steps:
        line = (
            "config.ema: nothing is averaged in the %d steps of the run, from step %d on every %d"
        )
        logger.warning(line, plan.num_steps, plan.average_from, every)
    options = {} if config.ema.decay is None else {"decay": config.ema.decay}
    if config.ema.kind == "rising":
        options["total"] = max(plan.num_steps - plan.average_from, 1) / every
    share = AVERAGES[config.ema.kind](**options)
    return make_average(share, plan.average_from, every=every, lookahead=lookahead)
