"""Does a confidence of 80 % mean right in 80 % of cases?"""

import math
from typing import NamedTuple

import numpy as np

from jaxcnn.analysis.intervals import grouped_sums
from jaxcnn.analysis.outcomes import row_blocks
from jaxcnn.core.metrics import ratio

BINS = 15
# Temperatures that fitting may give.
COLDEST, HOTTEST = 0.05, 20.0


class Reliability(NamedTuple):
    """Examples by confidence, in bins of equal width that hold their upper edge."""

    count: np.ndarray  # type: ignore[assignment]  # int64[bins]
    confidence: np.ndarray  # float64[bins]: mean, NaN where the bin is empty
    accuracy: np.ndarray  # float64[bins]: share that is right, NaN where the bin is empty

    def to_json(self) -> dict[str, list[float | None]]:
        """Lists; None where the bin is empty."""
        return {
            name: [None if math.isnan(number) else number for number in column.tolist()]
            for name, column in self._asdict().items()
        }


def reliability(correct: np.ndarray, confidence: np.ndarray, bins: int = BINS) -> Reliability:
    """correct: bool[N]; confidence: float[N], the prediction's probability."""
    place = _bin(confidence, bins)
    count = np.bincount(place, minlength=bins)
    sums = (np.bincount(place, values, minlength=bins) for values in (confidence, correct))
    return Reliability(count, *(ratio(total, count, np.nan) for total in sums))


def expected_calibration_error(
    correct: np.ndarray,
    confidence: np.ndarray,
    weights: np.ndarray | None = None,
    bins: int = BINS,
) -> np.ndarray:
    """Mean distance between accuracy and confidence over the bins, by their examples (Guo et al.
    2017, arXiv:1706.04599).

    float64[R], a number for each column of weights float64[N, R]; NaN without examples.

    It grows with fewer examples a bin even where the confidence is right (Kumar et al. 2019,
    arXiv:1909.10155).
    """
    weights = np.ones((len(correct), 1)) if weights is None else weights
    excess = np.asarray(correct, np.float64) - confidence
    gaps = grouped_sums(_bin(confidence, bins), weights * excess[:, None], bins)
    return ratio(np.abs(gaps).sum(0), weights.sum(0), np.nan)


def _bin(confidence: np.ndarray, bins: int) -> np.ndarray:
    return np.clip(np.ceil(np.asarray(confidence) * bins).astype(np.int64) - 1, 0, bins - 1)


def fit_temperature(label: np.ndarray, logits: np.ndarray) -> float:
    """The temperature T at which softmax(logits / T) has the smallest cross-entropy (Guo et al.
    2017), to six digits, between 0.05 and 20.

    label: int[N]; logits: float[N, K], finite. Fit it on examples that did not train the model.
    Where all examples are right the loss falls towards T = 0, and where the labels are worse than
    chance it falls towards infinity: the bounds end that. Without examples, and where all classes
    score the same in each, every temperature is as good: 1.
    """
    from scipy.optimize import brentq

    # The loss is convex in 1 / T: its slope has one zero, and that is the minimum.
    coldest, hottest = _slope(label, logits, 1 / COLDEST), _slope(label, logits, 1 / HOTTEST)
    if coldest == hottest == 0:  # the loss does not depend on T
        return 1.0
    if coldest <= 0:
        return COLDEST
    if hottest >= 0:
        return HOTTEST
    ends = np.log(COLDEST), np.log(HOTTEST)
    zero = brentq(lambda log_t: _slope(label, logits, np.exp(-log_t)), *ends, xtol=1e-6)
    return float(np.exp(zero))


def _slope(label: np.ndarray, logits: np.ndarray, scale: float) -> float:
    """Derivative of the summed cross-entropy of softmax(scale * logits) by scale."""
    total = 0.0
    for rows in row_blocks(logits):
        block = logits[rows].astype(np.float64)
        block -= block.max(-1, keepdims=True)
        powers = np.exp(scale * block)
        mean = (powers * block).sum(-1) / powers.sum(-1)
        own = block[np.arange(len(block)), label[rows]]
        total += float((mean - own).sum())
    return total
