"""What was measured several times: the middle of it, and how far it spreads."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

FEWEST = 5


class Spread(NamedTuple):
    """The median of some measurements and their quartiles, between which half of them lie.

    values: in the order they were made.
    """

    median: float
    low: float
    high: float
    values: tuple[float, ...]

    def __str__(self) -> str:
        return f"{self.median:.4g} ({self.low:.4g} to {self.high:.4g})"


def spread(values: Sequence[float] | np.ndarray) -> Spread:
    """Of one measurement or more. Medians and quartiles, as a few rounds that another program on
    the machine has slowed down move means and standard deviations a lot, and these hardly.
    """
    low, median, high = np.percentile(values, (25, 50, 75))
    return Spread(float(median), float(low), float(high), tuple(map(float, values)))


def apart(one: Spread, other: Spread) -> bool | None:
    """Whether the quartiles do not overlap; None where a side was measured less than FEWEST times:
    by luck those of equal things lie apart too, of 5 values in one of five, of 7 in one of twelve.
    """
    if min(len(one.values), len(other.values)) < FEWEST:
        return None
    return one.low > other.high or other.low > one.high


def in_rounds(
    ways: Mapping[str, Callable[[], Mapping[str, float]]], rounds: int, told: Callable[[int], Any]
) -> dict[str, list[float]]:
    """What all ways have found, by name, a value each round.

    Each round goes through them the other way round than the one before it, so that a machine that
    becomes slower or faster meanwhile is as unkind to the first as to the last.
    told: called with the number of each round that is done, from 1.
    """
    found: dict[str, list[float]] = {}
    for number in range(rounds):
        for way in list(ways.values())[:: 1 if number % 2 == 0 else -1]:
            for what, value in way().items():
                found.setdefault(what, []).append(value)
        told(number + 1)
    return found
