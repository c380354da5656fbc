"""What --config.KEY=VALUE on the command line stands for."""

import ast
import inspect
import typing
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from ml_collections import ConfigDict

from jaxcnn.config.choices import CHOICES, parameters_of
from jaxcnn.config.keys import check_known, flatten
from jaxcnn.config.table import KEYS, describe, is_tuple, is_union, matches
from jaxcnn.errors import UserError, nearest

_SWITCHES = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}


def is_switch(key: str) -> bool:
    """Whether a key may be given without a value, which then is True."""
    return key in KEYS and KEYS[key].default in (True, False, bool)


def apply_overrides(config: ConfigDict, texts: Mapping[str, str]) -> dict[str, Any]:
    """Puts what the command line says into a config that is not resolved; returns {key: value}.

    texts: {key: text}. What a text means is decided by the key, or by the parameter of what
      `data.source`, `model.name`, ... choose: a name is taken as it is written, also 2024 and True.
      None stands for None where that may be.

    Raises UserError.
    """
    check_known([*flatten(config), *texts])
    choosers = [choice.key for choice in CHOICES.values()]
    values = {}
    for key in sorted(texts, key=lambda key: key not in choosers):
        values[key] = value = _value(config, key, texts[key])
        part, _, leaf = key.rpartition(".")
        with config.ignore_type():
            (config[part] if part else config)[leaf] = value
    return values


def _value(config: ConfigDict, key: str, text: str) -> Any:
    if key in KEYS:
        default = KEYS[key].default
        hint: Any = default if isinstance(default, type) else type(default)
        optional = hint is default
    else:
        hint, optional = _keyword(config, key)
    if text == "None":
        if optional or matches(None, hint):
            return None
        empty = {str: ", '' for none", tuple: ", () for none"}.get(hint, "")
        raise UserError(f"config.{key}=None: expected {describe(hint)}{empty}")
    for value in _readings(text, hint):
        if matches(value, hint):
            return value
    raise UserError(f"config.{key}={text!r}: expected {describe(hint)}")


def _keyword(config: ConfigDict, key: str) -> tuple[Any, bool]:
    """The hint of a keyword of what is chosen, and whether it may be left out."""
    part, _, keyword = key.partition(".")
    choice = CHOICES[part]
    name, experiment = str(config[part][choice.chooser]), config.get("experiment") or ""
    hints = choice.keywords(name, experiment)
    if keyword not in hints:
        known = [*hints, *(own.removeprefix(f"{part}.") for own in KEYS if own.startswith(part))]
        raise UserError(
            f"config.{key}: {part} {name!r} takes no {keyword!r}{nearest(keyword, known)}; it "
            f"takes {', '.join(sorted(hints)) or 'nothing more'}"
        )
    default = parameters_of(choice.find(name, experiment))[keyword].default
    hint = hints[keyword]
    if hint is Any and isinstance(default, str):
        hint = str
    return hint, default is not inspect.Parameter.empty


def _readings(text: str, hint: Any) -> Iterator[Any]:
    """What a text could stand for, the likeliest first."""
    kinds = {*(typing.get_args(hint) if is_union(hint) else (hint,))}
    if str in kinds and kinds <= {str, type(None)}:
        yield text
        return
    if float in kinds and int not in kinds:
        with suppress(ValueError):
            yield float(text)
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        value = text
    yield value
    if any(map(is_tuple, kinds)) and not isinstance(value, tuple | dict | set):
        yield tuple(value) if isinstance(value, list) else (value,)
    if int in kinds:
        with suppress(ValueError):
            yield int(text)  # "08", which is no literal
    if bool in kinds and text.lower() in _SWITCHES:
        yield _SWITCHES[text.lower()]
    yield text
