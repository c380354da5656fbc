"""What values the keys of a config may have."""

import math
import re
from collections.abc import Mapping
from typing import Any

from jaxcnn.config.choices import augmentation
from jaxcnn.config.durations import UNITS
from jaxcnn.config.table import KEYS, Range, describe, matches
from jaxcnn.errors import UserError, nearest


def check_values(values: Mapping[str, Any]) -> None:
    """UserError for a value, in a complete and flattened config, of the wrong type or out of its
    range, and for values that do not go together.
    """

    def check(key: str, holds: bool, expected: str) -> None:
        if not holds:
            raise UserError(f"config.{key}={values[key]!r}: expected {expected}")

    given = {name: key for name, key in KEYS.items() if values[name] is not None}
    for name, key in KEYS.items():
        if name in given or not isinstance(key.default, type):
            check(name, matches(values[name], key.type), describe(key.type))
    for name, key in given.items():
        if isinstance(key.allows, Range):
            check(name, key.allows.holds(values[name]), key.allows.words)
        elif key.allows is not None:
            check(name, values[name] in key.allows, "one of " + ", ".join(key.allows))
    together = values["parallel.mode"] == "jit" and values["parallel.fsdp"] == 1
    if values["parallel.population"] and not together:
        raise UserError(
            "config.parallel.population=True: a population is for parallel.mode=jit and "
            "parallel.fsdp=1; leave it out, to train one after the other"
        )
    alone = values["parallel.fsdp"] == 1 or values["parallel.mode"] == "jit"
    check("parallel.fsdp", alone, "1 with config.parallel.mode='pmap', which splits no state")
    both = (values["data.mean"] is None) == (values["data.std"] is None)
    check("data.std", both, "both data.mean and data.std, or neither")
    gamma = values.get("loss.gamma")
    check("loss.gamma", gamma is None or 0 <= gamma < math.inf, "a number from 0")
    for name in ("b1", "b2", "b3", "momentum", "decay", "rho"):
        if isinstance(rate := values.get(f"optimizer.{name}"), int | float):
            check(f"optimizer.{name}", 0 <= rate < 1, "a share from 0 to below 1")
    _check_rules(values["optimizer.rules"])
    if (decay := values["optimizer.layer_decay"]) is not None and values["optimizer.rules"]:
        raise UserError(
            f"config.optimizer.layer_decay={decay!r}: makes rules of its own; give it or "
            "config.optimizer.rules"
        )
    every, accumulate = values["ema.every"], values["optimizer.accumulate"]
    whole = every == 1 or every % accumulate == 0
    check("ema.every", whole, f"a multiple of config.optimizer.accumulate={accumulate}")
    _check_average(values)
    for entry in values["augment"]:
        augmentation(entry, values["experiment"])


def _check_average(values: Mapping[str, Any]) -> None:
    """UserError for keys in `ema` that do not go together."""
    decay, kind, every = values["ema.decay"], values["ema.kind"], values["ema.every"]
    if kind == "equal" and decay is not None:
        raise UserError(f"config.ema.decay={decay!r}: config.ema.kind='equal' has no decay")
    if values["ema.lookahead"] and (every == 1 or kind == "equal" or decay is None):
        raise UserError(
            "config.ema.lookahead=True: steps would come to nothing; give config.ema.every=5 and "
            "config.ema.decay=0.5, and not config.ema.kind='equal'"
        )
    if values["ema.lookahead"] and values["optimizer.lookahead_steps"] is not None:
        raise UserError(
            "config.ema.lookahead=True and config.optimizer.lookahead_steps do not know of each "
            "other: give one of them"
        )
    if kind == "equal" or decay is not None:
        return
    if kind == "rising":
        raise UserError("config.ema.kind='rising': give config.ema.decay, where it rises to")
    idle = [f"ema.start_{unit}" for unit in UNITS if values[f"ema.start_{unit}"] is not None]
    idle += ["ema.every"] * (every > 1)
    if idle:
        raise UserError(f"config.{idle[0]}: nothing is averaged; give config.ema.decay=0.999")


# What a rule of `optimizer.rules` may say, with its type.
RULE_KEYS: dict[str, Any] = {
    "learning_rate": float,
    "weight_decay": float,
    "freeze": bool,
    "freeze_statistics": bool,
    "freeze_steps": int,
    "freeze_epochs": float,
    "freeze_examples": int,
}


def _check_rules(rules: tuple[Any, ...]) -> None:
    patterns: set[str] = set()
    for entry in rules:
        where = f"config.optimizer.rules: {entry!r}"
        pair = isinstance(entry, tuple) and len(entry) == 2
        if not (pair and isinstance(entry[0], str) and isinstance(entry[1], Mapping)):
            raise UserError(
                f"{where} is no rule; expected (pattern, {{what differs}}), several as a tuple, "
                "\"(('stage1', {'freeze': True}), ('rest', {}))\""
            )
        pattern, given = entry
        try:
            re.compile(pattern)
        except re.error as error:
            raise UserError(f"{where}: {pattern!r} is no regular expression ({error})") from error
        if pattern in patterns:
            raise UserError(f"{where}: a second rule for {pattern!r}; make them one")
        patterns.add(pattern)
        _check_rule(where, given)
    if rules and all(given.get("freeze") for _, given in rules):
        raise UserError(f"config.optimizer.rules={rules!r}: all is frozen, nothing would learn")


def _check_rule(where: str, given: Mapping[str, Any]) -> None:
    for key, value in given.items():
        if key not in RULE_KEYS:
            raise UserError(
                f"{where}: a rule takes no {key!r}{nearest(str(key), RULE_KEYS)}; it takes "
                f"{', '.join(RULE_KEYS)}"
            )
        if not matches(value, RULE_KEYS[key]):
            raise UserError(f"{where}: {key} is {describe(RULE_KEYS[key])}")
        if not isinstance(value, bool):
            zero = key == "weight_decay"
            if not (0 < value < math.inf or (zero and value == 0)):
                raise UserError(f"{where}: {key} is a number {'from' if zero else 'above'} 0")
    freezing = [f"freeze_{unit}" for unit in UNITS if f"freeze_{unit}" in given]
    freezing += ["freeze"] * bool(given.get("freeze"))
    if len(freezing) > 1:
        raise UserError(f"{where}: {' and '.join(freezing)}: give one of them")
    idle = {"learning_rate", "weight_decay"} & given.keys()
    if given.get("freeze") and idle:
        raise UserError(f"{where}: what is frozen has no {min(idle)}")
