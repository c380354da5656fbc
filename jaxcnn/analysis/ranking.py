"""Rankings by scores: area under the ROC curve and average precision, one class against the rest.

No threshold parts examples of equal score, as in scikit-learn. Both numbers need only sums of
weights between neighbouring scores of positives. A resample is a column of weights, so that
nothing is sorted again for a resample.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxcnn.analysis.intervals import grouped_sums
from jaxcnn.core.metrics import ratio


class Ranking(NamedTuple):
    """Metrics float64[..., R], one number a column of weights; NaN where undefined."""

    roc_auc: np.ndarray  # undefined without positives or without negatives
    average_precision: np.ndarray  # undefined without positives
    positives: np.ndarray  # weight of the positives, never NaN


def ranking(score: np.ndarray, positive: np.ndarray, weights: np.ndarray | None = None) -> Ranking:
    """score: float[N], higher for positives; positive: bool[N]; weights: float64[N, R] or ones.

    The ROC curve's area is the chance that a positive scores above a negative, equal scores
    counting half (Hanley and McNeil 1982). Average precision is the sum over thresholds of
    precision times the growth of recall, without interpolation.
    """
    weights = np.ones((len(score), 1)) if weights is None else weights
    level = np.unique(score[positive])
    levels = len(level)
    if not levels:
        nothing = np.full(weights.shape[1], np.nan)
        return Ranking(nothing, nothing, np.zeros(weights.shape[1]))
    # Groups: below each level and above the last; negatives on a level; positives on a level.
    group = np.searchsorted(level, score)
    tied = np.flatnonzero(level[np.minimum(group, levels - 1)] == score)
    group[tied] += np.where(positive[tied], 2 * levels + 1, levels + 1)
    sums = grouped_sums(group, weights, 3 * levels + 1)
    between, beside, hits = np.split(sums, [levels + 1, 2 * levels + 1])
    negatives = between.sum(0) + beside.sum(0)
    positives = hits.sum(0)
    below = np.cumsum(between[:-1] + beside, axis=0) - beside
    won = (hits * (below + beside / 2)).sum(0)
    ranked = np.cumsum(hits[::-1], axis=0)[::-1]
    precision = ratio(ranked, ranked + negatives - below)
    return Ranking(
        ratio(won, positives * negatives, np.nan),
        ratio((hits * precision).sum(0), positives, np.nan),
        positives,
    )


def one_vs_rest(
    label: np.ndarray,
    score: np.ndarray,
    weights: np.ndarray | None = None,
    classes: Sequence[int] | None = None,
) -> Ranking:
    """Ranks each class against the others: `Ranking` of float64[C, R].

    label: int[N]; score: float[N, C]; classes: which the columns are, by default 0 to C - 1.
    """
    classes = range(score.shape[1]) if classes is None else classes
    columns = np.ascontiguousarray(score.T)
    parts = [ranking(s, label == k, weights) for k, s in zip(classes, columns, strict=True)]
    return Ranking(*(np.stack(values) for values in zip(*parts, strict=True)))


def class_means(values: np.ndarray, positives: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Macro and weighted mean float64[R] of values [K, R] over the classes where defined.

    positives: float64[K, R], the weights. NaN where no class is defined.
    """
    defined = ~np.isnan(values)
    filled = np.where(defined, values, 0.0)
    weight = np.where(defined, positives, 0.0)
    macro = ratio(filled.sum(0), defined.sum(0), np.nan)
    return macro, ratio((filled * weight).sum(0), weight.sum(0), np.nan)
