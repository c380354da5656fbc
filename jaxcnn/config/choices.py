"""The parts of a config whose keywords depend on a name in it: data, model, optimizer, loss,
schedule.
"""

import dataclasses
import inspect
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxcnn.config.typecheck import describe, matches, type_hints
from jaxcnn.core.augment import AUGMENTATIONS
from jaxcnn.core.losses import LOSSES
from jaxcnn.core.models import MODELS
from jaxcnn.core.optim import SCHEDULES, optimizers
from jaxcnn.data import SOURCES
from jaxcnn.errors import UserError, nearest


@dataclasses.dataclass(frozen=True)
class Choice:
    """A part of the config with a name in it that chooses from a registry.

    reserved: parameters of the chosen callable that the build sets itself.
    """

    part: str
    chooser: str
    registry: Callable[[], Mapping[str, Callable[..., Any]]]
    reserved: tuple[str, ...]

    @property
    def key(self) -> str:
        return f"{self.part}.{self.chooser}"

    def keywords(self, name: str) -> dict[str, Any]:
        """The keywords `name` takes, with their type hints."""
        function = self.registry()[name]
        bound = getattr(function, "keywords", {})  # of a functools.partial
        function = getattr(function, "func", function)
        hints = type_hints(function)
        hidden = {*self.reserved, *bound}
        return {
            parameter: hints.get(parameter, Any)
            for parameter in inspect.signature(function).parameters
            if parameter not in hidden
        }


CHOICES = {
    "data": Choice("data", "source", lambda: SOURCES, ("image_size", "channels", "num_classes")),
    "model": Choice(
        "model", "name", lambda: MODELS, ("num_classes", "dtype", "axis_name", "parent", "name")
    ),
    "optimizer": Choice(
        "optimizer", "name", optimizers, ("learning_rate", "mask", "weight_decay_mask")
    ),
    "loss": Choice(
        "loss", "name", lambda: LOSSES, ("logits", "label", "label_smoothing", "class_weights")
    ),
    "schedule": Choice(
        "schedule", "name", lambda: SCHEDULES, ("peak", "num_steps", "warmup_steps")
    ),
}


def resolve_choice(
    values: dict[str, Any], choice: Choice, own_keys: Collection[str], overrides: Collection[str]
) -> None:
    """Checks one part of `values` (a flattened config), changed in place.

    own_keys: the keys that configs have whatever is chosen.
    overrides: names given on the command line. If the choice is among them, keywords the file meant
      for another choice are dropped.
    """
    name = str(values.get(choice.key))
    registry = choice.registry()
    if name not in registry:
        raise UserError(
            f"config.{choice.key}={name!r}: expected one of {', '.join(registry)}"
            f"{nearest(name, registry)}"
        )
    hints = choice.keywords(name)
    prefix = f"{choice.part}."
    own_keys = [key for key in own_keys if key.startswith(prefix)]
    for key in [key for key in values if key.startswith(prefix) and key not in own_keys]:
        keyword, value = key.removeprefix(prefix), values[key]
        if value is None:
            del values[key]
        elif keyword not in hints:
            if choice.key in overrides and key not in overrides:
                del values[key]
                continue
            known = [*hints, *(own.removeprefix(prefix) for own in own_keys)]
            raise UserError(
                f"config.{key}: {choice.part} {name!r} takes no {keyword!r}"
                f"{nearest(keyword, known)}; it takes {', '.join(sorted(hints)) or 'nothing more'}"
            )
        elif not matches(value, hints[keyword]):
            raise UserError(f"config.{key}={value!r}: expected {describe(hints[keyword])}")


def augmentation(entry: Any) -> tuple[Callable[..., Any], dict[str, Any]]:
    """The operation an entry of `config.augment` names, and its keywords; raises UserError.

    An entry is a name or (name, argument); a lone number is the operation's first keyword.
    """
    name, argument = entry if isinstance(entry, tuple) and len(entry) == 2 else (entry, {})
    if not isinstance(name, str) or name not in AUGMENTATIONS:
        raise UserError(
            f"config.augment: {entry!r} is no augmentation; expected a name or (name, number), "
            "several as a tuple, --config.augment=\"(('crop', 4), 'flip')\", with names of "
            f"{', '.join(AUGMENTATIONS)}{nearest(str(name), AUGMENTATIONS)}"
        )
    function = AUGMENTATIONS[name]
    signature = inspect.signature(function)
    # After keys and image; what is keyword-only is bound by the build.
    given = list(signature.parameters.values())[2:]
    parameters = [p.name for p in given if p.kind is not p.KEYWORD_ONLY]
    required = [p for p in parameters if signature.parameters[p].default is inspect.Parameter.empty]
    if argument == {} and required:
        raise UserError(
            f"config.augment: {entry!r} needs its {required[0]}: ({name!r}, {required[0]})"
        )
    if not isinstance(argument, Mapping):
        if not parameters:
            raise UserError(f"config.augment: {entry!r}: {name} takes nothing; give {name!r} alone")
        argument = {parameters[0]: argument}
    hints = type_hints(function)
    for keyword, value in argument.items():
        if keyword not in parameters:
            raise UserError(
                f"config.augment: {entry!r}: {name} takes {', '.join(parameters) or 'nothing'}"
                f"{nearest(str(keyword), parameters)}"
            )
        if not matches(value, hints[keyword]):
            raise UserError(f"config.augment: {entry!r}: {keyword} is {describe(hints[keyword])}")
    bound = {"num_classes": 10} if "num_classes" in signature.parameters else {}
    # Larger than any image, so that nothing here is too large for it.
    batch = abstract_batch(2, (2**14, 2**14, 3))
    check_augmentation(entry, partial(function, **argument, **bound), batch)
    return function, dict(argument)


def check_augmentation(
    entry: Any, operation: Callable[..., Any], batch: dict[str, jax.ShapeDtypeStruct]
) -> None:
    """UserError, quoting the entry, if its operation cannot be applied to such a batch."""
    try:
        jax.eval_shape(operation, batch["key"], batch)
    except (TypeError, ValueError) as error:
        raise UserError(f"config.augment: {entry!r}: {error}") from error


def abstract_batch(
    batch_size: int, image_shape: tuple[int, int, int]
) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a batch as augmentations get it, see `jaxcnn.core.step`."""
    number = jax.ShapeDtypeStruct((batch_size,), np.int32)
    return {
        "image": jax.ShapeDtypeStruct((batch_size, *image_shape), np.uint8),
        "label": number,
        "mask": jax.ShapeDtypeStruct((batch_size,), np.bool_),
        "index": number,
        "epoch": number,
        "key": jax.ShapeDtypeStruct((batch_size,), jax.eval_shape(jax.random.key, 0).dtype),
    }
