"""What the losses of a learning-rate range test say (Smith 2017, arXiv:1506.01186)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# The share of the past in a running average of losses: of one that only looks back, and of one that
# looks ahead as well.
_KEEP, _KEEP_OF_TWO = 0.9, 0.75
# A loss this many times its least has diverged.
DIVERGED = 4.0
# A rate so many times below that of the least loss leaves room before it rises.
_BELOW = 10.0
# Of the loss at the start: what a fall must exceed to be one.
_FALL = 0.02


class LossRange(NamedTuple):
    """What was found.

    smoothed: float64[N], losses without their noise. least, steepest: the rates where that is least
    and where it falls fastest (per factor of the rate); None where it never falls.
    suggested: a rate to train with; None where there is none. reason: why, in a sentence.
    """

    smoothed: np.ndarray
    least: float | None
    steepest: float | None
    suggested: float | None
    reason: str


class Diverging:
    """Tells, loss by loss, when they have become much larger than they were.

    Averages are exponential, with the correction for their start of Kingma & Ba (2015).
    """

    def __init__(self) -> None:
        self._sum, self._weight, self._least = 0.0, 0.0, math.inf

    def add(self, loss: float) -> bool:
        """Whether the average of the losses until now, with this one, is above 4 times its least,
        or no number.
        """
        self._sum = _KEEP * self._sum + (1 - _KEEP) * loss
        self._weight = _KEEP * self._weight + (1 - _KEEP)
        average = self._sum / self._weight
        if not math.isfinite(average):
            return True
        self._least = min(self._least, average)
        return average > DIVERGED * self._least


def read_losses(rates: Sequence[float], losses: Sequence[float]) -> LossRange:
    """rates: N numbers, each larger than the one before; losses: the loss of each."""
    rate, loss = np.asarray(rates, np.float64), np.asarray(losses, np.float64)
    smoothed = smooth(loss)
    bottom = int(np.argmin(smoothed))
    if smoothed[0] - smoothed[bottom] < _FALL * abs(smoothed[0]) or bottom == 0:
        reason = "the loss never fell: try another optimiser, or look at the data"
        return LossRange(smoothed, None, None, None, reason)
    slope = np.gradient(smoothed, np.log(rate))
    steepest = float(rate[int(np.argmin(slope[: bottom + 1]))])
    least = float(rate[bottom])
    suggested = least / _BELOW
    reason = f"a tenth of {least:.2g}, the rate at which the loss was least"
    return LossRange(smoothed, least, steepest, suggested, reason)


def smooth(losses: np.ndarray) -> np.ndarray:
    """Averages that look back and ahead, so that nothing is shifted: float64[N] of N losses.

    What has diverged counts as just that, however large it is.
    """
    finite = np.nan_to_num(losses, nan=np.inf, posinf=np.inf)
    limit = DIVERGED * max(float(np.min(finite)), 1e-12)
    capped = np.minimum(finite, limit)
    return (_average(capped) + _average(capped[::-1])[::-1]) / 2


def _average(values: np.ndarray) -> np.ndarray:
    total, weight, averages = 0.0, 0.0, []
    for value in values:
        total = _KEEP_OF_TWO * total + (1 - _KEEP_OF_TWO) * float(value)
        weight = _KEEP_OF_TWO * weight + (1 - _KEEP_OF_TWO)
        averages.append(total / weight)
    return np.array(averages)
