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
}


@dataclasses.dataclass(frozen=True)
class Interval:
    """A moment that comes back whenever so many more training examples have been seen."""

    examples: float
    batch_size: int

    def due(self, step: int) -> bool:
        """Whether update number `step` (from 1) completes another interval."""
        seen = step * self.batch_size
        return seen // self.examples > (seen - self.batch_size) // self.examples


@dataclasses.dataclass(frozen=True)
class Plan:
    """The durations of a run for a data set of a certain size.

    warmup_steps: None where the config leaves it to the schedule.
    """

    num_steps: int
    warmup_steps: int | None
    eval_every: Interval
    log_every: Interval
    checkpoint_every: Interval


def make_plan(values: Mapping[str, Any], num_train: int) -> Plan:
    """Turns the durations of a resolved, flattened config into steps: the only place that does.

    num_train: examples in an epoch.
    """
    batch_size = values["batch_size"]

    def examples(name: str) -> float | None:
        for unit, size in zip(UNITS, (batch_size, num_train, 1), strict=True):
            if values[f"{name}_{unit}"] is not None:
                return values[f"{name}_{unit}"] * size
        return None

    def interval(name: str) -> Interval:
        return Interval(max(examples(name) or 0, batch_size), batch_size)

    warmup = examples("schedule.warmup")
    return Plan(
        num_steps=math.ceil((examples("num") or 0) / batch_size),
        warmup_steps=None if warmup is None else math.ceil(warmup / batch_size),
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
                "config.num_epochs: give how long to train, for example --config.num_epochs=10 "
                "(or config.num_steps, config.num_examples)"
            )
        for key in keys:
            if key not in given:
                values[key] = None
        for key in given:
            _check_duration(key, values[key], at_least_zero=name == "schedule.warmup")
        if not given and default is not None:
            unit, value = default
            values[f"{name}_{unit}"] = value


def _check_duration(key: str, value: Any, at_least_zero: bool) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or value < 0 or (value == 0 and not at_least_zero):
        least = "a number from 0" if at_least_zero else "a number above 0"
        raise UserError(f"config.{key}={value!r}: expected {least}")
