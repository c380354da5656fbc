"""Durations: given in steps, epochs or examples, turned into steps once."""

import dataclasses
import math
from collections.abc import Collection, Mapping
from typing import Any

from jaxcnn.errors import UserError

UNITS = ("steps", "epochs", "examples")

# Each duration is given by exactly one of <name>_steps, <name>_epochs, <name>_examples. The value
# is what holds where none is given; None: there is no default.
DURATIONS: dict[str, tuple[str, float] | None] = {
    "num": None,
    "eval_every": ("epochs", 1),
    "log_every": ("steps", 50),
    "checkpoint_every": ("epochs", 1),
    "schedule.warmup": None,
    "ema.start": None,
    "early_stop.patience": None,
}

_FROM_ZERO = ("schedule.warmup", "ema.start")


@dataclasses.dataclass(frozen=True)
class Interval:
    """A moment that comes back whenever so many more training examples have been seen."""

    examples: float
    batch_size: int

    def due(self, step: int) -> bool:
        """Whether update number `step` (from 1) completes another interval."""

        def completed(seen: int) -> int:
            return math.floor(round(seen / self.examples, 6))  # 6 / (6 / 7) is not quite 7

        return completed(step * self.batch_size) > completed((step - 1) * self.batch_size)


@dataclasses.dataclass(frozen=True)
class Plan:
    """The durations of a run for a data set of a certain size.

    warmup_steps: None where the config leaves it to the schedule.
    patience: steps without an improvement after which a run ends; None: it does not.
    average_from: steps of which the average takes nothing.
    frozen: for each of `optimizer.rules` whether it freezes for the whole run, or for how many
      steps.
    """

    num_steps: int
    warmup_steps: int | None
    patience: int | None
    average_from: int
    frozen: tuple[bool | int, ...]
    eval_every: Interval
    log_every: Interval
    checkpoint_every: Interval

    def steps_at_once(self, step: int, most: int) -> int:
        """How many of the updates after number `step` are to be one program: `most`, or 1 where
        something else is due before they are done.
        """
        intervals = (self.log_every, self.eval_every, self.checkpoint_every)
        before_last = range(step + 1, step + most)
        free = not any(interval.due(other) for other in before_last for interval in intervals)
        return most if free and step + most <= self.num_steps else 1

    def most_at_once(self) -> int:
        """The most updates between two moments at which something else is due."""
        intervals = (self.log_every, self.eval_every, self.checkpoint_every)
        between = min(interval.examples // interval.batch_size for interval in intervals)
        return max(1, int(min(between, self.num_steps)))


def make_plan(values: Mapping[str, Any], num_train: int) -> Plan:
    """Turns the durations of a resolved, flattened config into steps: the only place that does.

    num_train: examples in an epoch.
    """
    batch_size = values["batch_size"]

    def examples(name: str, values: Mapping[str, Any] = values) -> list[float]:
        sizes = zip(UNITS, (batch_size, num_train, 1), strict=True)
        given = [(values.get(f"{name}_{unit}"), size) for unit, size in sizes]
        return [value * size for value, size in given if value is not None]

    def steps(name: str, values: Mapping[str, Any] = values) -> list[int]:
        return [math.ceil(round(number / batch_size, 6)) for number in examples(name, values)]

    def interval(name: str) -> Interval:
        return Interval(examples(name)[0], batch_size)

    return Plan(
        num_steps=steps("num")[0],
        warmup_steps=next(iter(steps("schedule.warmup")), None),
        patience=next(iter(steps("early_stop.patience")), None),
        average_from=next(iter(steps("ema.start")), 0),
        frozen=tuple(
            next(iter(steps("freeze", rule)), rule.get("freeze", False))
            for _, rule in values["optimizer.rules"]
        ),
        eval_every=interval("eval_every"),
        log_every=interval("log_every"),
        checkpoint_every=interval("checkpoint_every"),
    )


def resolve_durations(values: dict[str, Any], overrides: Collection[str]) -> None:
    """Leaves one unit of each duration in `values` (a flattened config), changed in place.

    What the command line gives (`overrides`) replaces the file's; two in one place are an error.
    """
    for name, default in DURATIONS.items():
        keys = [f"{name}_{unit}" for unit in UNITS]
        given = [key for key in keys if values.get(key) is not None]
        given = [key for key in given if key in overrides] or given
        if len(given) > 1:
            listed = " and ".join(f"config.{key}={values[key]!r}" for key in given)
            raise UserError(f"{listed} say the same in different units: give only one of them")
        if not given and name == "num":
            raise UserError(
                "config.num_epochs: give how long to train, config.num_epochs = 10 in the "
                "experiment or --config.num_epochs=10 (likewise num_steps, num_examples)"
            )
        for key in keys:
            if key not in given:
                values[key] = None
        for key in given:
            _check_duration(key, values[key], at_least_zero=name in _FROM_ZERO)
        if not given and default is not None:
            unit, value = default
            values[f"{name}_{unit}"] = value


def _check_duration(key: str, value: Any, at_least_zero: bool) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    in_range = is_number and math.isfinite(value) and value >= 0 and (value > 0 or at_least_zero)
    if not in_range:
        least = "a number from 0" if at_least_zero else "a number above 0"
        raise UserError(f"config.{key}={value!r}: expected {least}")
