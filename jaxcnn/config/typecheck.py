"""Whether a config's value fits a parameter's type hint, and how to say what would."""

import types
import typing
from collections.abc import Callable
from typing import Any

_NAMES = {int: "a whole number", float: "a number", str: "a name", bool: "True or False"}
_PLURALS = {int: "whole numbers", float: "numbers", str: "names"}


def type_hints(function: Callable[..., Any]) -> dict[str, Any]:
    """The resolved hints of a function's parameters, without those that name what is not here."""
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):  # one name that only type checkers know spoils them all
        hints = getattr(function, "__annotations__", {})
        return {name: hint for name, hint in hints.items() if not isinstance(hint, str)}


def matches(value: Any, hint: Any) -> bool:
    """Whether a value fits a hint: exact for numbers, names, tuples and unions of them; a hint that
    says more than that (a protocol, an array type) is not judged.
    """
    arguments = typing.get_args(hint)
    if _is_union(hint):
        return any(matches(value, argument) for argument in arguments)
    if hint is tuple or typing.get_origin(hint) is tuple:
        inner = arguments[0] if arguments else Any
        return isinstance(value, tuple) and all(matches(item, inner) for item in value)
    if hint is type(None) or hint is None:
        return value is None
    if hint in (int, float) and isinstance(value, bool):
        return False
    if hint is float:
        return isinstance(value, int | float)
    if hint in (int, str, bool):
        return isinstance(value, hint)
    if isinstance(hint, type) and not typing.is_typeddict(hint):
        try:
            return isinstance(value, hint)
        except TypeError:  # a protocol without runtime checks
            return True
    return True


def describe(hint: Any) -> str:
    """What `matches` accepts, in words."""
    arguments = typing.get_args(hint)
    if _is_union(hint):
        if float in arguments:  # which takes whole numbers, and Optax's hints list all there is
            return _NAMES[float]
        named = [_NAMES.get(a) or describe(a) for a in arguments if a in _NAMES or _is_tuple(a)]
        return " or ".join(dict.fromkeys(named)) or str(hint)
    if _is_tuple(hint):
        return f"a tuple of {_PLURALS.get(arguments[0], 'values')}" if arguments else "a tuple"
    return _NAMES.get(hint, str(hint))


def _is_union(hint: Any) -> bool:
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def _is_tuple(hint: Any) -> bool:
    return hint is tuple or typing.get_origin(hint) is tuple
