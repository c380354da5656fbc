"""What values the keys of a config may have."""

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from jaxcnn.config.choices import augmentation
from jaxcnn.config.durations import UNITS
from jaxcnn.config.table import KEYS, Range
from jaxcnn.config.typecheck import describe, matches
from jaxcnn.core.views import VIEWS
from jaxcnn.errors import UserError, nearest


def check_values(values: Mapping[str, Any]) -> None:
    """UserError for a value, in a complete and flattened config, that is out of its range."""

    def check(key: str, holds: bool, expected: str) -> None:
        if not holds:
            raise UserError(f"config.{key}={values[key]!r}: expected {expected}")

    for name, key in KEYS.items():
        if values[name] is None or key.allows is None:
            continue
        if isinstance(key.allows, Range):
            check(name, key.allows.holds(values[name]), key.allows.words)
        else:
            check(name, values[name] in key.allows, "one of " + ", ".join(key.allows))
    if values["parallel.population"] and (
        values["parallel.mode"] != "jit" or values["parallel.fsdp"] > 1
    ):
        raise UserError(
            "config.parallel.population=True: a population is for parallel.mode=jit and "
            "parallel.fsdp=1; leave it out, to train one after the other"
        )
    alone = values["parallel.fsdp"] == 1 or values["parallel.mode"] == "jit"
    check("parallel.fsdp", alone, "1 with config.parallel.mode='pmap', which splits no state")
    _check_ranges(values, check)
    _check_report(values, check)
    _check_pretrained(values, check)
    _check_learning(values, check)
    _check_average(values, check)
    for entry in values["augment"]:
        augmentation(entry, values["experiment"])


def _check_learning(values: Mapping[str, Any], check: Callable[[str, bool, str], None]) -> None:
    """The keys of the loss, of the optimiser and of stopping early."""
    gamma = values.get("loss.gamma")
    check("loss.gamma", gamma is None or 0 <= gamma < math.inf, "a number from 0")
    for name in ("b1", "b2", "b3", "momentum", "decay", "rho"):
        if isinstance(values.get(key := f"optimizer.{name}"), int | float):
            check(key, 0 <= values[key] < 1, "a share from 0 to below 1")
    weights = values["loss.class_weights"]
    numbers = isinstance(weights, tuple) and matches(weights, tuple[float, ...])
    check(
        "loss.class_weights",
        weights in (None, "balanced")
        or (numbers and any(weights) and all(0 <= weight < math.inf for weight in weights)),
        "'balanced' or a tuple of numbers from 0, one for each class",
    )
    _check_rules(values["optimizer.rules"])
    decay = values["optimizer.layer_decay"]
    share = values["optimizer.lookahead_share"]
    check("optimizer.lookahead_share", 0 < share <= 1, "a share above 0, up to 1")
    check("optimizer.layer_decay", decay is None or 0 < decay <= 1, "a factor above 0, up to 1")
    if decay is not None and values["optimizer.rules"]:
        raise UserError(
            f"config.optimizer.layer_decay={decay!r}: makes rules of its own; give it or "
            "config.optimizer.rules"
        )


def _check_average(values: Mapping[str, Any], check: Callable[[str, bool, str], None]) -> None:
    """The keys in `ema`."""
    decay, kind = values["ema.decay"], values["ema.kind"]
    check("ema.decay", decay is None or 0 < decay < 1, "a share above 0, below 1")
    if kind == "equal" and decay is not None:
        raise UserError(f"config.ema.decay={decay!r}: config.ema.kind='equal' has no decay")
    every, accumulate = values["ema.every"], values["optimizer.accumulate"]
    whole = every == 1 or every % accumulate == 0
    check("ema.every", whole, f"a multiple of config.optimizer.accumulate={accumulate}")
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


def _check_ranges(values: Mapping[str, Any], check: Callable[[str, bool, str], None]) -> None:
    """The keys in `data` that are ranges, colours and shares."""

    def pair(value: Any) -> bool:
        return len(value) == 2 and all(matches(v, float) for v in value) and value[0] <= value[1]

    window, scale = values["data.window"], values["data.crop_scale"]
    right = window in (None, "file") or (
        isinstance(window, tuple) and pair(window) and window[0] < window[1]
    )
    check("data.window", right, "(low, high), two numbers, low below high, or 'file'")
    right = scale is None or (pair(scale) and scale[0] > 0 and scale[1] <= 1)
    check("data.crop_scale", right, "(least, largest), two shares of the area above 0, up to 1")
    colour = values["data.background"]
    right = len(colour) == 3 and all(matches(c, int) and 0 <= c <= 255 for c in colour)
    check("data.background", right, "(red, green, blue), whole numbers from 0 to 255")
    check("data.crop_fraction", 0 < values["data.crop_fraction"] <= 1, "a share above 0, up to 1")


def _check_pretrained(values: Mapping[str, Any], check: Callable[[str, bool, str], None]) -> None:
    """The keys of trained weights, and of the normalisation that they expect."""

    def is_pattern(value: Any) -> bool:
        try:
            return isinstance(value, str) and bool(re.compile(value))
        except re.error:
            return False

    pairs = all(matches(p, tuple[str, ...]) and len(p) == 2 for p in values["pretrained.names"])
    right = pairs and all(is_pattern(pattern) for pattern, _ in values["pretrained.names"])
    check("pretrained.names", right, "pairs (regular expression, our path): ((r'fc', 'head'),)")
    right = all(map(is_pattern, values["pretrained.ignore"]))
    check("pretrained.ignore", right, "a tuple of regular expressions")
    mean, std = values["data.mean"], values["data.std"]
    right = mean is None or (matches(mean, tuple[float, ...]) and all(map(math.isfinite, mean)))
    check("data.mean", right, "a tuple of numbers, one for each channel")
    right = std is None or (matches(std, tuple[float, ...]) and all(0 < s < math.inf for s in std))
    check("data.std", right, "a tuple of numbers above 0, one for each channel")
    check("data.std", (mean is None) == (std is None), "both data.mean and data.std, or neither")


def _check_report(values: Mapping[str, Any], check: Callable[[str, bool, str], None]) -> None:
    check("report.epsilon", 0 <= values["report.epsilon"] <= 255, "a number from 0 to 255")
    check("report.resamples", values["report.resamples"] >= 100, "a whole number from 100")
    views = ", ".join(VIEWS)
    check("report.tta", set(values["report.tta"]) <= {*VIEWS}, f"a tuple of {views}")


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
