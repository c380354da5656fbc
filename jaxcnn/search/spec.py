"""What --search.KEY=SPEC says: a range of numbers, or choices.

    "LOW HIGH"        numbers from LOW to HIGH, both included
    "log LOW HIGH"    the same, and each power of ten as likely as every other
    "A|B|C"           one of these, written as --config values are: 3, 0.1, name, None, "(64, 128)"

Numbers are whole where the key takes whole numbers only.
"""

import ast
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from jaxcnn.config.choices import CHOICES
from jaxcnn.config.keys import default_config, flatten
from jaxcnn.config.typecheck import matches
from jaxcnn.errors import UserError, nearest

GRAMMAR = '"LOW HIGH", "log LOW HIGH" or "A|B|C"'


class Range(NamedTuple):
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool
    whole: bool

    def suggest(self, trial: Any, key: str) -> float | int:
        if self.whole:
            return trial.suggest_int(key, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(key, self.low, self.high, log=self.log)


class Options(NamedTuple):
    """Some values to choose from."""

    values: tuple[Any, ...]

    def suggest(self, trial: Any, key: str) -> Any:
        if all(map(is_plain, self.values)):
            return trial.suggest_categorical(key, self.values)
        # A storage keeps no tuples: it is given their texts.
        texts = [str(value) for value in self.values]
        return self.values[texts.index(trial.suggest_categorical(key, texts))]


def is_plain(value: Any) -> bool:
    """Whether a choice is kept by every storage as it is."""
    return value is None or isinstance(value, bool | int | float | str)


def parse_specs(specs: Mapping[str, str], base: Mapping[str, Any]) -> dict[str, Range | Options]:
    """{key: what to search}; raises UserError.

    base: the flattened config that is searched around.
    """
    known = flatten(default_config())
    for key in specs:
        if key not in known and key.split(".")[0] not in CHOICES:
            raise UserError(f"--search.{key}: no such key{nearest(key, known)}")
    return {key: _parse(key, text, base, specs) for key, text in sorted(specs.items())}


def _parse(
    key: str, text: str, base: Mapping[str, Any], specs: Mapping[str, str]
) -> Range | Options:
    def refuse(problem: str) -> UserError:
        return UserError(f"--search.{key}={text!r}: {problem}")

    if "|" in text:
        values = tuple(_value(part.strip()) for part in text.split("|"))
        if "" in values:
            raise refuse("a choice is empty; write them as A|B|C")
        if len({repr(value) for value in values}) < len(values):
            raise refuse("a choice is there twice")
        return Options(values)
    words = text.split()
    log = words[:1] == ["log"]
    bounds = [_number(word) for word in words[log:]]
    if len(bounds) != 2 or None in bounds:
        raise refuse(f"expected {GRAMMAR}")
    low, high = (bound for bound in bounds if bound is not None)
    whole = _whole(key, base, specs)
    if low > high:
        turned = " ".join([*words[:log], words[-1], words[-2]])
        raise refuse(f"the lower bound comes first, {turned!r}")
    if low == high:
        raise refuse(f"both bounds are the same; fix it with --config.{key}={words[-1]}")
    if log and low <= 0:
        raise refuse(f"the logarithm of {words[1]} does not exist; give a bound above 0")
    if whole and not (low.is_integer() and high.is_integer()):
        raise refuse(f"{key} takes whole numbers; give whole bounds")
    return Range(low, high, log, whole)


def _value(text: str) -> Any:
    """A choice, read as a value of --config is."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _number(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _whole(key: str, base: Mapping[str, Any], specs: Mapping[str, str]) -> bool:
    """Whether a key takes whole numbers only."""
    return all(matches(1, hint) and not matches(0.5, hint) for hint in _hints(key, base, specs))


def _hints(key: str, base: Mapping[str, Any], specs: Mapping[str, str]) -> Sequence[Any]:
    """The types of a key; of a keyword, for whatever takes it of those that are searched."""
    config: Any = default_config()
    *parts, leaf = key.split(".")
    for part in parts:
        config = config.get(part, {})
    if leaf in config:
        return [config.get_type(leaf)]
    if not parts or parts[0] not in CHOICES:
        return [float]
    choice = CHOICES[parts[0]]
    experiment = str(base.get("experiment") or "")
    names = [*specs.get(choice.key, "").split("|"), str(base.get(choice.key))]
    takes = []
    for name in map(str.strip, names):
        with suppress(UserError):  # of a name that is none, as its trial will say
            takes.append(choice.keywords(name, experiment))
    return [hints[leaf] for hints in takes if leaf in hints] or [float]
