"""95 % intervals: how far a number would move with another test set of the same size.

Percentiles of what resamples of the examples give (Efron 1979), with three additions:
- A share that is 0 or 1 is so in every resample. It gets the score interval of Wilson (1927).
- Other numbers that are the same in every resample get no interval: resampling cannot tell.
- Some numbers are biased in resamples (calibration error grows, for one), so that their
  percentiles can miss the value. The interval is then widened as far as the value.
A resample in which a number is undefined does not count.
"""

import math
from collections.abc import Iterator
from typing import NamedTuple, SupportsFloat

import numpy as np
from numpy.typing import ArrayLike

from jaxcnn.core.metrics import Margins

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
    """Makes one of numbers that may be NaN. undefined, unknown: why no value, why no interval."""
    if math.isnan(value):
        return Estimate(None, reason=undefined)
    if math.isnan(low):
        return Estimate(float(value), reason=unknown)
    return Estimate(float(value), float(low), float(high))


LEVEL = 0.95
_TAIL = (1 - LEVEL) / 2
_Z = 1.959963984540054  # that quantile of the standard normal
SAME = "no interval: every resample gives the same value"
# Numbers in a block of resamples.
_BLOCK = 2_000_000
# Above so many examples a mean's bootstrap distribution is normal for all purposes here.
_NORMAL_ABOVE = 100_000


def percentiles(
    value: np.ndarray | np.floating, draws: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Low and high float64[...] of draws [R, ...]; NaN where they are equal or value is NaN."""
    draws = np.sort(draws, axis=0)  # NaN come last
    valid = np.isfinite(draws).sum(0)
    low, high = (_quantile(draws, valid, share) for share in (_TAIL, 1 - _TAIL))
    unknown = np.isnan(value) | (valid == 0) | (low == high)
    low, high = np.minimum(low, value), np.maximum(high, value)
    return np.where(unknown, np.nan, low), np.where(unknown, np.nan, high)


def _quantile(draws: np.ndarray, valid: np.ndarray, share: float) -> np.ndarray:
    """NumPy's default quantile, of the first `valid` of sorted draws in each column."""
    position = share * np.maximum(valid - 1, 0)
    below = np.floor(position).astype(np.int64)
    above = np.minimum(below + 1, np.maximum(valid - 1, 0))
    left, right = (np.take_along_axis(draws, i[None], axis=0)[0] for i in (below, above))
    return np.where(left == right, left, left + (right - left) * (position - below))


def wilson(hits: ArrayLike, total: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """The score interval of a share (Wilson 1927); NaN where total is 0."""
    hits, total = np.asarray(hits, np.float64), np.asarray(total, np.float64)
    share = np.divide(hits, total, out=np.full_like(total, np.nan), where=total > 0)
    scale = total + _Z**2
    centre = (hits + _Z**2 / 2) / scale
    half = _Z * np.sqrt(total * share * (1 - share) + _Z**2 / 4) / scale
    low = np.where(hits == 0, 0.0, centre - half)
    high = np.where(hits == total, 1.0, centre + half)
    return np.where(total > 0, low, np.nan), np.where(total > 0, high, np.nan)


def resample(counts: np.ndarray, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Multinomial resamples of counts int[M], all above 0: int64[R, M] in blocks of rows."""
    random = np.random.default_rng(seed)
    cells, total = len(counts), int(counts.sum())
    # NumPy's multinomial costs about 100 ns a cell, drawing examples about 40 ns an example.
    by_cell = total >= 4 * cells
    rows = max(1, _BLOCK // (cells if by_cell else total))
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        if by_cell:
            yield random.multinomial(total, counts / total, size=size)
        else:
            cell = np.repeat(np.arange(cells), counts)[random.integers(total, size=(size, total))]
            cell += (np.arange(size) * cells)[:, None]
            yield np.bincount(cell.ravel(), minlength=size * cells).reshape(size, cells)


def resample_margins(confusion: np.ndarray, resamples: int, seed: int) -> Margins:
    """Margins float64[R, K] of multinomial resamples of a confusion matrix int[K, K].

    Only cells above 0 are drawn, so that 1,000 classes cost what their examples cost.
    """
    label, prediction = np.nonzero(confusion)
    counts = confusion[label, prediction]
    by_prediction = np.argsort(prediction, kind="stable")
    rows, row_starts = np.unique(label, return_index=True)
    columns, column_starts = np.unique(prediction[by_prediction], return_index=True)
    diagonal = label == prediction
    drawn = Margins(*(np.zeros((resamples, len(confusion))) for _ in Margins._fields))
    start = 0
    for block in resample(counts, resamples, seed) if len(counts) else ():
        part = slice(start, start + len(block))
        drawn.hits[part, label[diagonal]] = block[:, diagonal]
        drawn.support[part, rows] = np.add.reduceat(block, row_starts, axis=1)
        moved = np.add.reduceat(block[:, by_prediction], column_starts, axis=1)
        drawn.predicted[part, columns] = moved
        start += len(block)
    return drawn


def resample_weights(count: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Counts of each of `count` examples in each resample: float64[count, R] in blocks of R."""
    if count:
        for block in resample(np.ones(count, np.int64), resamples, seed):
            yield np.ascontiguousarray(block.T, np.float64)


def grouped_sums(group: np.ndarray, weights: np.ndarray, groups: int) -> np.ndarray:
    """Sums float64[groups, R] of weights [N, R] over the examples of each group int[N]."""
    from scipy.sparse import csr_array

    if weights.shape[1] == 1:
        return np.bincount(group, weights[:, 0], minlength=groups)[:, None]
    ones, rows = np.ones(len(group)), np.arange(len(group) + 1)
    return csr_array((ones, group, rows), shape=(len(group), groups)).T @ weights


def share_estimate(hits: int, total: int, resamples: int, seed: int) -> Estimate:
    """A share, from binomial resamples."""
    if not total:
        return Estimate(None, reason=NO_EXAMPLES)
    value = np.float64(hits / total)
    if 0 < hits < total:
        draws = np.random.default_rng(seed).binomial(total, value, size=resamples) / total
        low, high = percentiles(value, draws)
    else:
        low, high = wilson(hits, total)
    return estimate(value, low, high, NO_EXAMPLES, SAME)


def mean_estimates(values: np.ndarray, resamples: int, seed: int) -> list[Estimate]:
    """The mean of each row of values float64[M, N], which holds a number of each example.

    Above 100,000 examples the interval is that of a normal distribution.
    """
    count = values.shape[1]
    if not count:
        return [Estimate(None, reason=NO_EXAMPLES)] * len(values)
    value = values.mean(-1)
    if count > _NORMAL_ABOVE:
        half = _Z * values.std(-1) / np.sqrt(count)
        low, high = value - half, value + half
    else:
        drawn = [block @ values.T for block in resample(np.ones(count, int), resamples, seed)]
        low, high = percentiles(value, np.concatenate(drawn) / count)
    rows = zip(value, low, high, strict=True)
    return [estimate(*row, NO_EXAMPLES, SAME) for row in rows]
