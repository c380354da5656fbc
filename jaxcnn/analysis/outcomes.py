"""What each example shows: predictions, losses, doubtful labels; in float64 and in blocks, so that
memory is bounded.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxcnn.core.metrics import ratio

# Numbers in a block.
_BLOCK = 1_000_000


class Outcomes(NamedTuple):
    """Results of one pass over the logits, for each example."""

    prediction: np.ndarray  # int64[N]: the class that scores highest, of equal ones the lowest
    in_top5: np.ndarray  # bool[N]: fewer than five classes come before the label's
    confidence: np.ndarray  # float64[N]: the prediction's probability
    loss: np.ndarray  # float64[N]: cross-entropy in nats
    brier: np.ndarray  # float64[N]: sum over the classes of (probability - is the label)^2
    shift: np.ndarray  # float64[N]: largest logit over temperature
    total: np.ndarray  # float64[N]: sum over the classes of exp(logit / temperature - shift)


def outcomes(label: np.ndarray, logits: np.ndarray, temperature: float = 1.0) -> Outcomes:
    """label: int[N]; logits: float[N, K], finite; probabilities are softmax(logits / temperature).

    `brier` is Brier's (1950) own score for many classes, between 0 and 2: twice the score that is
    usual for two classes.
    """
    parts = [_block(label[rows], logits[rows], temperature) for rows in row_blocks(logits)]
    return Outcomes(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def probabilities(
    logits: np.ndarray, temperature: float = 1.0, dtype: type[np.floating] = np.float32
) -> np.ndarray:
    """softmax(logits / temperature) of finite logits [N, K], computed in float64."""
    result = np.empty(logits.shape, dtype)
    for rows in row_blocks(logits):
        scaled = logits[rows].astype(np.float64) / temperature
        powers = np.exp(scaled - scaled.max(-1, keepdims=True))
        result[rows] = powers / powers.sum(-1, keepdims=True)
    return result


def class_columns(
    logits: np.ndarray, seen: Outcomes, temperature: float = 1.0
) -> Iterator[tuple[range, np.ndarray]]:
    """The same probabilities in float64, some classes at a time: (classes, float64[N, C])."""
    count, num_classes = logits.shape
    width = max(1, _BLOCK // max(count, 1))
    for start in range(0, num_classes, width):
        classes = range(start, min(start + width, num_classes))
        scaled = logits[:, start : classes.stop].astype(np.float64) / temperature
        yield classes, np.exp(scaled - seen.shift[:, None]) / seen.total[:, None]


def not_finite(logits: np.ndarray) -> int:
    """Number of examples that have a logit that is not finite."""
    blocks = row_blocks(logits)
    return sum(int((~np.isfinite(logits[rows]).all(-1)).sum()) for rows in blocks)


def row_blocks(logits: np.ndarray) -> Iterator[slice]:
    """Slices of rows [N, K]; at least one, so that no examples give empty arrays."""
    height = max(1, _BLOCK // logits.shape[1])
    for start in range(0, max(len(logits), 1), height):
        yield slice(start, start + height)


def _block(label: np.ndarray, logits: np.ndarray, temperature: float) -> Outcomes:
    rows, classes = np.arange(len(label)), np.arange(logits.shape[1])
    prediction = logits.argmax(-1)
    own = logits[rows, label][:, None]
    ahead = (logits > own) | ((logits == own) & (classes < label[:, None]))
    scaled = logits.astype(np.float64) / temperature
    shift = scaled[rows, prediction]
    scaled -= shift[:, None]
    label_score = scaled[rows, label]
    powers = np.exp(scaled, out=scaled)
    total = powers.sum(-1)
    share = np.divide(powers, total[:, None], out=powers)
    return Outcomes(
        prediction=prediction,
        in_top5=ahead.sum(-1) < 5,
        confidence=share[rows, prediction],
        loss=np.log(total) - label_score,
        # (p - 1)^2 = p^2 - 2p + 1 at the label
        brier=np.einsum("nk,nk->n", share, share) - 2 * share[rows, label] + 1,
        shift=shift,
        total=total,
    )


class Suspect(NamedTuple):
    """An example that looks like another class than its label says."""

    position: int
    label: int
    suggestion: int
    margin: float  # probability of the suggestion minus that of the label


def likely_label_errors(
    label: np.ndarray, probabilities: np.ndarray, at_most: int
) -> list[Suspect]:
    """Examples whose label is probably wrong, largest margin first: to look at, not to delete.

    Confident learning (Northcutt et al. 2021, arXiv:1911.00068).

    label: int[N]; probabilities: float[N, K], of a model that was not trained on these examples.
    An example is confidently of class j when p_j is at least the mean p_j of the examples labelled
    j; of several such classes the most probable counts. Suspects are confidently of another class
    than their label's (the confident joint off its diagonal), and more probably so.
    """
    label, num_classes = np.asarray(label, np.int64), probabilities.shape[1]
    own = np.asarray(probabilities[np.arange(len(label)), label], np.float64)
    count = np.bincount(label, minlength=num_classes)
    # A class without examples suggests nothing.
    threshold = ratio(np.bincount(label, own, num_classes), count, np.inf)
    suggestion, margin = np.empty(len(label), np.int64), np.empty(len(label))
    for rows in row_blocks(probabilities):
        confident = np.where(probabilities[rows] >= threshold, probabilities[rows], -1.0)
        suggestion[rows] = confident.argmax(-1)
        margin[rows] = confident.max(-1) - own[rows]
    suspects = np.flatnonzero((suggestion != label) & (margin > 0))
    worst = suspects[np.argsort(-margin[suspects], kind="stable")[:at_most]]
    return [Suspect(int(i), int(label[i]), int(suggestion[i]), float(margin[i])) for i in worst]
