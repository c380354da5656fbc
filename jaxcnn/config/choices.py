"""Parts of a config whose keywords depend on a name in it: data, model, optimizer, loss, schedule;
and augmentations.
"""

import dataclasses
import inspect
import typing
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxcnn.config.experiment import find_name, is_ours, known_names
from jaxcnn.config.table import describe, matches
from jaxcnn.core.augment import AUGMENTATIONS
from jaxcnn.core.losses import LOSSES
from jaxcnn.core.models import MODELS
from jaxcnn.core.optim import SCHEDULES, optimizers
from jaxcnn.data import SOURCES
from jaxcnn.errors import UserError, nearest


@dataclasses.dataclass(frozen=True)
class Choice:
    """A part of the config with a name in it that chooses from a registry.

    reserved: parameters of the chosen callable that the build sets itself. needed: those of them
      that it has to take.
    """

    part: str
    chooser: str
    registry: Callable[[], Mapping[str, Callable[..., Any]]]
    reserved: tuple[str, ...]
    needed: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        return f"{self.part}.{self.chooser}"

    def find(self, name: str, experiment: str = "") -> Callable[..., Any]:
        """Returns the class or function that `name` stands for; raises UserError.

        experiment: the path of the experiment file, which may define it; "" for none.
        """
        registry = self.registry()
        function = find_name(self.key, name, registry, experiment)
        if function is None:
            raise UserError(
                f"config.{self.key}={name!r}{nearest(name, known_names(registry, experiment))}: "
                f"expected one of {', '.join(registry)}, what the experiment file defines, or "
                "package.module:Name"
            )
        if missing := [one for one in self.needed if one not in parameters_of(function)]:
            raise UserError(
                f"config.{self.key}={name!r}: {name} has no parameter {missing[0]!r}, which a "
                f"{self.part} of one's own has to take"
            )
        return function

    def keywords(self, name: str, experiment: str = "") -> dict[str, Any]:
        """Returns the keywords `name` takes, with their type hints."""
        function = self.find(name, experiment)
        hidden = {*self.reserved, *getattr(function, "keywords", {})}  # of a functools.partial
        function = getattr(function, "func", function)
        hints = type_hints(function)
        return {one: hints.get(one, Any) for one in parameters_of(function) if one not in hidden}


def type_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Returns the hints of a function's parameters, without those that name what is not here."""
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):  # one name that only type checkers know spoils them all
        hints = getattr(function, "__annotations__", {})
        return {name: hint for name, hint in hints.items() if not isinstance(hint, str)}


def parameters_of(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Returns the parameters of a class or function, without *args and **kwargs."""
    parameters = inspect.signature(function).parameters
    return {name: one for name, one in parameters.items() if not one.kind.name.startswith("VAR_")}


_SOURCE = ("image_size", "channels", "num_classes")
_MODEL = ("num_classes", "dtype", "axis_name", "parent", "name")
_OPTIMIZER = ("learning_rate", "mask", "weight_decay_mask")
_LOSS = ("logits", "label", "label_smoothing", "class_weights")
_SCHEDULE = ("peak", "num_steps", "warmup_steps")
CHOICES = {
    "data": Choice("data", "source", lambda: SOURCES, _SOURCE),
    "model": Choice("model", "name", lambda: MODELS, _MODEL, needed=_MODEL[:1]),
    "optimizer": Choice("optimizer", "name", optimizers, _OPTIMIZER, needed=_OPTIMIZER[:1]),
    "loss": Choice("loss", "name", lambda: LOSSES, _LOSS, needed=_LOSS[:2]),
    "schedule": Choice("schedule", "name", lambda: SCHEDULES, _SCHEDULE, needed=_SCHEDULE[:2]),
}


def resolve_choice(
    values: dict[str, Any], choice: Choice, own_keys: Collection[str], overrides: Collection[str]
) -> None:
    """Checks one part of `values` (a flattened config), changed in place.

    own_keys: the keys that configs have whatever is chosen.
    overrides: names given on the command line. If the choice is among them, keywords the file meant
      for another choice are dropped.
    """
    name, experiment = str(values.get(choice.key)), values.get("experiment") or ""
    hints = choice.keywords(name, experiment)
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
    if is_ours(name, choice.registry()):
        return
    for keyword, parameter in parameters_of(choice.find(name, experiment)).items():
        key = prefix + keyword
        if keyword in hints and parameter.default is parameter.empty and key not in values:
            raise UserError(f"config.{key}: {choice.part} {name!r} needs it, --config.{key}=...")


def own_names(config: Mapping[str, Any]) -> dict[str, str]:
    """Returns {key: name} of what a config names that jaxcnn does not come with."""
    named = [(one.key, config[one.part][one.chooser], one.registry()) for one in CHOICES.values()]
    for entry in config["augment"]:
        named.append(("augment", entry if isinstance(entry, str) else entry[0], AUGMENTATIONS))
    return {key: name for key, name, registry in named if not is_ours(name, registry)}


def augmentation(entry: Any, experiment: str = "") -> tuple[Callable[..., Any], dict[str, Any]]:
    """Returns the operation an entry of `config.augment` names, and its keywords; raises UserError.

    An entry is a name or (name, argument); a lone number is the operation's first keyword.
    experiment: the path of the experiment file, which may define it; "" for none.
    """
    name, argument = entry if isinstance(entry, tuple) and len(entry) == 2 else (entry, {})
    is_name = isinstance(name, str)
    function = find_name("augment", name, AUGMENTATIONS, experiment) if is_name else None
    if function is None:
        raise UserError(
            f"config.augment: {entry!r} is no augmentation"
            f"{nearest(str(name), known_names(AUGMENTATIONS, experiment))}; expected a name or "
            "(name, number), several as a tuple, --config.augment=\"(('crop', 4), 'flip')\", with "
            f"names of {', '.join(AUGMENTATIONS)}, of what the experiment file defines, or "
            "package.module:Name"
        )
    own = inspect.signature(function).parameters
    # After keys and image; what is keyword-only is bound by the build.
    parameters = [p.name for p in list(own.values())[2:] if p.kind is not p.KEYWORD_ONLY]
    required = [name for name in parameters if own[name].default is inspect.Parameter.empty]
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
        if not matches(value, hints.get(keyword, Any)):
            raise UserError(f"config.augment: {entry!r}: {keyword} is {describe(hints[keyword])}")
    bound = {"num_classes": 10} if "num_classes" in own else {}
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
    """Returns the shapes of a batch as augmentations get it, see `jaxcnn.core.step`."""
    key = jax.eval_shape(jax.random.key, 0).dtype
    dtypes = {"label": np.int32, "mask": np.bool_, "index": np.int32, "epoch": np.int32, "key": key}
    batch = {name: jax.ShapeDtypeStruct((batch_size,), dtype) for name, dtype in dtypes.items()}
    return {"image": jax.ShapeDtypeStruct((batch_size, *image_shape), np.uint8), **batch}
