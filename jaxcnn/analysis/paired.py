"""Two models on the same examples: is one better, or was it luck?"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.analysis.intervals import (
    NO_EXAMPLES,
    SAME,
    Estimate,
    estimate,
    mean_estimates,
    percentiles,
    resample,
)


class Comparison(NamedTuple):
    """Model B against model A. Differences are B's number minus A's."""

    num_examples: int
    both_right: int
    only_a: int  # right by A alone
    only_b: int  # right by B alone
    both_wrong: int
    p_value: float | None  # McNemar's test, exact; None without examples
    p_value_mid: float | None  # the same with mid-p
    accuracy_difference: Estimate
    loss_difference: Estimate | None  # None where losses were not given

    def to_json(self) -> dict[str, Any]:
        """The fields above under their names; `loss_difference` only where losses were given."""
        return {
            name: value.to_json() if isinstance(value, Estimate) else value
            for name, value in self._asdict().items()
            if name != "loss_difference" or value is not None
        }


def compare_paired(
    label: np.ndarray,
    prediction_a: np.ndarray,
    prediction_b: np.ndarray,
    loss_a: np.ndarray | None = None,
    loss_b: np.ndarray | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Comparison:
    """label, predictions: int[N] of the same examples in the same order; loss: float[N], or None.

    ValueError where the lengths differ.
    """
    arrays = [label, prediction_a, prediction_b, loss_a, loss_b]
    lengths = {len(array) for array in arrays if array is not None}
    if len(lengths) != 1:
        raise ValueError(f"models must answer for the same examples, got {sorted(lengths)}")
    a, b = np.asarray(prediction_a) == label, np.asarray(prediction_b) == label
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    exact, mid = mcnemar(only_a, only_b) if len(label) else (None, None)
    loss = None
    if loss_a is not None and loss_b is not None:
        difference = np.asarray(loss_b, np.float64) - np.asarray(loss_a, np.float64)
        (loss,) = mean_estimates(difference[None], resamples, seed)
    return Comparison(
        num_examples=len(label),
        both_right=int((a & b).sum()),
        only_a=only_a,
        only_b=only_b,
        both_wrong=int((~a & ~b).sum()),
        p_value=exact,
        p_value_mid=mid,
        accuracy_difference=_difference(only_a, only_b, len(label), resamples, seed),
        loss_difference=loss,
    )


def mcnemar(only_a: int, only_b: int) -> tuple[float, float]:
    """Two-sided p-values of McNemar's test (1947): exact, and mid-p.

    If neither model is better, each example that one alone has right is a fair coin. The exact test
    is conservative; mid-p, which counts half of the probability of what was seen, keeps its level
    nearly always and has more power (Fagerland et al. 2013).
    """
    from scipy.stats import binom

    coins, fewer = only_a + only_b, min(only_a, only_b)
    if not coins:
        return 1.0, 1.0
    seen = float(binom.pmf(fewer, coins, 0.5))
    exact = min(1.0, 2 * float(binom.cdf(fewer, coins, 0.5)))
    return exact, 1 - seen / 2 if only_a == only_b else exact - seen


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """P-values adjusted for how many there are (Holm 1979), in their order; None stays None.

    The chance that any of those below a level is there by luck is at most that level.
    """
    known = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        adjusted[place] = highest
    return adjusted


def _difference(only_a: int, only_b: int, total: int, resamples: int, seed: int) -> Estimate:
    """Accuracy of B minus that of A: a function of three counts, which are resampled."""
    if not total:
        return Estimate(None, reason=NO_EXAMPLES)
    cells = [(1, only_b), (-1, only_a), (0, total - only_a - only_b)]
    gain, counts = np.array([cell for cell in cells if cell[1]]).T
    draws = np.concatenate(list(resample(counts, resamples, seed))) @ gain / total
    value = np.float64((only_b - only_a) / total)
    low, high = percentiles(value, draws)
    return estimate(value, low, high, NO_EXAMPLES, SAME)
