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
    """The durations of a run on a data set, in steps.

    warmup_steps: None: the schedule decides. patience: without an improvement, until a run ends;
    None: it does not. average_from: those that the average leaves out.
    frozen: for each of `optimizer.rules` whether it freezes for the whole run, or how long.
    """

    num_steps: int
    warmup_steps: int | None
    patience: int | None
    average_from: int
    frozen: tuple[bool | int, ...]
    eval_every: Interval
    log_every: Interval
    checkpoint_every: Interval

    @property
    def _intervals(self) -> tuple[Interval, ...]:
        return (self.log_every, self.eval_every, self.checkpoint_every)

    def steps_per_dispatch(self, step: int, most: int) -> int:
        """Returns how many of the updates after number `step` are one program: `most`, or 1 where
        something else is due before the last of them.
        """
        before_last = range(step + 1, step + most)
        free = not any(interval.due(other) for other in before_last for interval in self._intervals)
        return most if free and step + most <= self.num_steps else 1

    def most_steps_per_dispatch(self) -> int:
        """Returns the most updates between two moments at which something else is due."""
        between = min(interval.examples // interval.batch_size for interval in self._intervals)
        return max(1, int(min(between, self.num_steps)))


def make_plan(values: Mapping[str, Any], num_train: int) -> Plan:
    """Turns the durations of a resolved, flattened config into steps: the only place that does.

    num_train: examples in an epoch.
    """
    batch_size = values["batch_size"]
    sizes = {"steps": batch_size, "epochs": num_train, "examples": 1}

    def examples(name: str, values: Mapping[str, Any] = values) -> float | None:
        given = ((values.get(f"{name}_{unit}"), size) for unit, size in sizes.items())
        return next((value * size for value, size in given if value is not None), None)

    def steps(name: str, default: Any = None, values: Mapping[str, Any] = values) -> Any:
        number = examples(name, values)
        return default if number is None else math.ceil(round(number / batch_size, 6))

    rules = [rule for _, rule in values["optimizer.rules"]]
    intervals = ("eval_every", "log_every", "checkpoint_every")
    return Plan(
        num_steps=steps("num"),
        warmup_steps=steps("schedule.warmup"),
        patience=steps("early_stop.patience"),
        average_from=steps("ema.start", 0),
        frozen=tuple(steps("freeze", rule.get("freeze", False), rule) for rule in rules),
        **{name: Interval(examples(name) or 0, batch_size) for name in intervals},
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
        for key in given:
            value, zero = values[key], name in _FROM_ZERO
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            if not (is_number and (0 < value < math.inf or (zero and value == 0))):
                least = "a number from 0" if zero else "a number above 0"
                raise UserError(f"config.{key}={value!r}: expected {least}")
        values |= {key: None for key in keys if key not in given}
        if not given and default is not None:
            values[f"{name}_{default[0]}"] = default[1]
