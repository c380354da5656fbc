"""A number with its uncertainty."""

import math
from typing import NamedTuple, SupportsFloat

NO_EXAMPLES = "there are no examples"
# How the reasons of values begin that are 0 where there was nothing to divide by.
BY_CONVENTION = "0 by convention"


class Estimate(NamedTuple):
    """A value and its 95 % interval.

    value: None where it is undefined; then `reason` says why.
    low, high: None where there is no interval; then `reason` says why.
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str | None = None

    def to_json(self) -> dict[str, float | str | None]:
        """`value`, and of the others those that are there."""
        rest = {name: v for name, v in self._asdict().items() if v is not None}
        return {"value": self.value} | rest


def estimate(
    value: SupportsFloat, low: SupportsFloat, high: SupportsFloat, undefined: str, unknown: str
) -> Estimate:
    """From numbers that may be NaN. undefined, unknown: reason for no value, for no interval."""
    if math.isnan(value):
        return Estimate(None, reason=undefined)
    if math.isnan(low):
        return Estimate(float(value), reason=unknown)
    return Estimate(float(value), float(low), float(high))
