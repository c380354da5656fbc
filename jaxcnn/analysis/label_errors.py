"""Examples whose label is probably wrong: a list to look at, not to delete."""

from typing import NamedTuple

import numpy as np

_BLOCK = 1_000_000


class Suspect(NamedTuple):
    """An example that looks like another class than its label says."""

    position: int
    label: int
    suggestion: int
    margin: float  # probability of the suggestion minus that of the label


def likely_label_errors(
    label: np.ndarray, probabilities: np.ndarray, at_most: int
) -> list[Suspect]:
    """Confident learning (Northcutt et al. 2021, arXiv:1911.00068), largest margin first.

    label: int[N]; probabilities: float[N, K], of a model that was not trained on these examples.
    An example is confidently of class j when p_j is at least the mean p_j of the examples labelled
    j; of several such classes the most probable counts. Suspects are confidently of another class
    than their label's (the confident joint off its diagonal), and more probably so.
    """
    label = np.asarray(label, np.int64)
    num_classes = probabilities.shape[1]
    own = np.asarray(probabilities[np.arange(len(label)), label], np.float64)
    count = np.bincount(label, minlength=num_classes)
    # A class without examples suggests nothing.
    threshold = np.full(num_classes, np.inf)
    np.divide(np.bincount(label, own, num_classes), count, out=threshold, where=count > 0)
    suggestion, margin = np.empty(len(label), np.int64), np.empty(len(label))
    height = max(1, _BLOCK // num_classes)
    for start in range(0, len(label), height):
        rows = slice(start, start + height)
        confident = np.where(probabilities[rows] >= threshold, probabilities[rows], -1.0)
        suggestion[rows] = confident.argmax(-1)
        margin[rows] = confident.max(-1) - own[rows]
    suspects = np.flatnonzero((suggestion != label) & (margin > 0))
    worst = suspects[np.argsort(-margin[suspects], kind="stable")[:at_most]]
    return [Suspect(int(i), int(label[i]), int(suggestion[i]), float(margin[i])) for i in worst]
