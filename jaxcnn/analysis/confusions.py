"""Which classes are taken for which."""

from typing import NamedTuple

import numpy as np

# Optimal leaf ordering costs the cube of the classes; above this many they are only clustered.
_ORDERED_UP_TO = 200


class Confusion(NamedTuple):
    """Examples of class `label` that were called `prediction`."""

    label: int
    prediction: int
    count: int  # type: ignore[assignment]  # a tuple's method is not missed
    share: float  # of the examples of class `label`


def worst_confusions(confusion: np.ndarray, at_most: int = 20) -> list[Confusion]:
    """The largest counts off the diagonal of int[K, K]; of equal ones the larger share first."""
    support = confusion.sum(1)
    label, prediction = np.nonzero(confusion)
    wrong = label != prediction
    label, prediction = label[wrong], prediction[wrong]
    count = confusion[label, prediction]
    share = count / support[label]
    order = np.lexsort((prediction, label, -share, -count))[:at_most]
    return [
        Confusion(int(label[i]), int(prediction[i]), int(count[i]), float(share[i])) for i in order
    ]


def cluster_order(confusion: np.ndarray) -> np.ndarray:
    """An order int64[K] of the classes in which those that are confused stand side by side.

    Average linkage, where two classes are the nearer the larger the share of their examples that is
    taken for the other. Up to 200 classes its leaves are ordered so that neighbours are near
    (Bar-Joseph et al. 2001).
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    classes = len(confusion)
    if classes < 3:
        return np.arange(classes)
    share = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)
    distance = 1 - (share + share.T) / 2
    np.fill_diagonal(distance, 0.0)
    near = squareform(distance, checks=False)
    tree = linkage(near, "average", optimal_ordering=classes <= _ORDERED_UP_TO)
    return leaves_list(tree).astype(np.int64)
