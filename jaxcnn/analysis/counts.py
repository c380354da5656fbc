"""Metrics of counts: all of them are functions of a confusion matrix's margins."""

from typing import NamedTuple

import numpy as np

from jaxcnn.analysis.intervals import (
    BY_CONVENTION,
    NO_EXAMPLES,
    SAME,
    Estimate,
    estimate,
    percentiles,
    wilson,
)
from jaxcnn.core.metrics import Margins, averages, per_class, ratio

_ONE_CLASS = "only one class among the labels and predictions"
# Equal to accuracy where each example has one label and one prediction.
_ACCURACIES = ("accuracy", "precision_micro", "recall_micro", "recall_weighted", "f1_micro")


def confusion_counts(label: np.ndarray, prediction: np.ndarray, num_classes: int) -> np.ndarray:
    """int64[K, K]; entry [i, j]: examples of class i that were called j."""
    cell = np.asarray(label, np.int64) * num_classes + prediction
    return np.bincount(cell, minlength=num_classes**2).reshape(num_classes, num_classes)


def count_metrics(counts: Margins) -> dict[str, np.ndarray]:
    """Metrics float64[...] of margins [..., K], NaN where undefined; the same as in scikit-learn.

    accuracy; balanced_accuracy: mean recall of the classes that have examples; precision, recall
    and F1 as `_macro`, `_micro` and `_weighted`; cohen_kappa (Cohen 1960); matthews: the
    correlation R_K of Gorodkin (2004), 0 where either the labels or the predictions are of one
    class. The last two are undefined where all labels and predictions are of one and the same.
    """
    hits, support, predicted = counts
    total, right = support.sum(-1), hits.sum(-1)
    recall = ratio(hits, support)
    by_chance = (support * predicted).sum(-1)
    # Nothing to agree on: all is of one class, and called so.
    undefined = total**2 == by_chance
    covariance = right * total - by_chance
    spread = (total**2 - (support**2).sum(-1)) * (total**2 - (predicted**2).sum(-1))
    return {
        "accuracy": ratio(right, total, np.nan),
        "balanced_accuracy": ratio(recall.sum(-1), (support > 0).sum(-1), np.nan),
        **averages(counts),
        "cohen_kappa": ratio(covariance, total**2 - by_chance, np.nan),
        "matthews": np.where(undefined, np.nan, ratio(covariance, np.sqrt(spread))),
    }


def count_estimates(counts: Margins, resampled: Margins) -> dict[str, Estimate]:
    """`count_metrics` of margins float64[K], with intervals from resampled margins [R, K]."""
    values, draws = count_metrics(counts), count_metrics(resampled)
    hits, total = counts.hits.sum(), counts.support.sum()
    undefined = _ONE_CLASS if total else NO_EXAMPLES
    estimates = {}
    for name, value in values.items():
        if name in _ACCURACIES and hits in (0, total):
            low, high = wilson(hits, total)
        else:
            low, high = percentiles(value, draws[name])
        estimates[name] = estimate(value, low, high, undefined, SAME)
    return estimates


def class_estimates(counts: Margins, resampled: Margins) -> dict[str, list[Estimate]]:
    """Precision, recall and F1: K estimates each.

    Where there is nothing to divide by the value is 0 (scikit-learn's `zero_division=0`), it has no
    interval, and the reason says so.
    """
    values, draws = per_class(counts), per_class(resampled)
    wholes, drawn_wholes = _wholes(counts), _wholes(resampled)
    total = counts.support.sum()
    estimates = {}
    for name, (whole, empty) in wholes.items():
        drawn = np.where(drawn_wholes[name][0] > 0, draws[name], np.nan)
        low, high = percentiles(values[name], drawn)
        edges = wilson(counts.hits, whole)
        if name == "f1":  # a function of the share hits / whole that grows with it
            edges = tuple(2 * edge / (1 + edge) for edge in edges)
        certain = (counts.hits == 0) | (counts.hits == whole)
        low, high = np.where(certain, edges, (low, high))
        value = values[name] if total else np.full(len(whole), np.nan)
        estimates[name] = [
            estimate(value[k], low[k], high[k], NO_EXAMPLES, SAME if whole[k] else empty)
            for k in range(len(whole))
        ]
    return estimates


def _wholes(counts: Margins) -> dict[str, tuple[np.ndarray, str]]:
    """Counts that the hits are a share of: for F1 the examples that are or were called so."""
    either = counts.support + counts.predicted - counts.hits
    return {
        "precision": (counts.predicted, f"{BY_CONVENTION}: no example was called so"),
        "recall": (counts.support, f"{BY_CONVENTION}: no example of this class"),
        "f1": (either, f"{BY_CONVENTION}: the class does not occur"),
    }


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
