"""From a config to the things it names. Besides `run` and `train`, the only reader of configs."""

import inspect
from functools import partial

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import optax
from ml_collections import ConfigDict

from jaxcnn.choices import abstract_batch, augmentation, check_augmentation
from jaxcnn.config import keywords
from jaxcnn.core.augment import compose
from jaxcnn.core.losses import balanced_weights, cross_entropy
from jaxcnn.core.models import MODELS
from jaxcnn.core.optim import SCHEDULES, make_optimizer
from jaxcnn.core.step import Augment, Loss
from jaxcnn.data import SOURCES
from jaxcnn.data.cache import load_images
from jaxcnn.data.source import Dataset
from jaxcnn.data.splits import make_dataset
from jaxcnn.durations import Plan
from jaxcnn.errors import UserError


def build_dataset(config: ConfigDict) -> Dataset:
    """Reads (or finds in the cache) the images a config names, and splits them into roles."""
    load = SOURCES[config.data.source]
    shared = {name: config.data[name] for name in ("image_size", "channels", "num_classes")}
    accepted = inspect.signature(load).parameters
    required = {p.name for p in accepted.values() if p.default is p.empty}
    given = {name: value for name, value in shared.items() if name in accepted}
    given |= keywords(config, "data")
    for name in required - given.keys():
        raise UserError(f"config.data.{name}: source {config.data.source!r} needs it")
    sources = load(**given)

    class_names = sources["train"].class_names
    expected = config.data.num_classes
    if expected is not None and expected != len(class_names):
        raise UserError(
            f"config.data.num_classes={expected}: the data have {len(class_names)} classes"
        )
    size, channels, cache_dir = (config.data[k] for k in ("image_size", "channels", "cache_dir"))
    return make_dataset(
        {role: load_images(source, size, channels, cache_dir) for role, source in sources.items()},
        class_names,
        "; ".join(f"{role}: {source.identity}" for role, source in sources.items()),
        holdout=config.data.holdout,
        test_holdout=config.data.test_holdout,
        split_seed=config.data.split_seed,
    )


def build_model(config: ConfigDict, num_classes: int, axis_name: str | None = None) -> nn.Module:
    """The linen module `config.model` names.

    axis_name: the mapped axis BatchNorm averages over under `pmap`; None under `jit`.
    """
    return MODELS[config.model.name](
        num_classes=num_classes,
        dtype=jnp.dtype(config.dtype),
        axis_name=axis_name,
        **keywords(config, "model"),
    )


def build_schedule(config: ConfigDict, plan: Plan) -> optax.Schedule:
    """The learning rate as a function of the step."""
    given = keywords(config, "schedule")
    if plan.warmup_steps is not None:
        given["warmup_steps"] = plan.warmup_steps
    schedule = SCHEDULES[config.schedule.name]
    try:
        return schedule(config.optimizer.learning_rate, plan.num_steps, **given)
    except ValueError as error:
        raise UserError(f"config.schedule: {error}") from error


def build_optimizer(config: ConfigDict, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The Optax chain `config.optimizer` names."""
    given = keywords(config, "optimizer") | {
        "weight_decay": config.optimizer.weight_decay,
        "clip_norm": config.optimizer.clip_norm,
    }
    try:
        return make_optimizer(config.optimizer.name, schedule, **given)
    except (TypeError, ValueError) as error:  # Optax's, of a value it cannot use
        raise UserError(f"config.optimizer: {config.optimizer.name}: {error}") from error


def build_augment(
    config: ConfigDict, num_classes: int, image_shape: tuple[int, int, int]
) -> Augment:
    """The augmentation `config.augment` lists, in its order; () changes nothing.

    image_shape: (H, W, C), which not every operation can do with; UserError if one cannot.
    """
    operations = []
    for entry in config.augment:
        function, given = augmentation(entry)
        if "num_classes" in inspect.signature(function).parameters:
            given["num_classes"] = num_classes
        operations.append(partial(function, **given))
        check_augmentation(entry, operations[-1], abstract_batch(config.batch_size, image_shape))
    return compose(operations)


def build_loss(config: ConfigDict, counts: np.ndarray) -> Loss:
    """The training loss; evaluation reports plain cross-entropy.

    counts: int[K], the training examples of each class.
    """
    weights = config.loss.class_weights
    if weights == "balanced":
        weights = tuple(balanced_weights(counts).tolist())
    elif weights is not None and len(weights) != len(counts):
        raise UserError(
            f"config.loss.class_weights={weights!r}: {len(weights)} numbers for the "
            f"{len(counts)} classes of the data"
        )
    return partial(
        cross_entropy, label_smoothing=config.loss.label_smoothing, class_weights=weights
    )
