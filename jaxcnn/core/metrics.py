"""Metrics: sums and counts on the device, ratios in one place on the host."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


def confusion_matrix(
    label: jax.Array, prediction: jax.Array, mask: jax.Array, num_classes: int
) -> jax.Array:
    """Counts int32[K, K]; entry [i, j]: examples of class i that were predicted as j.

    label, prediction: int32[B]; mask: bool[B], False for examples that do not count.
    """
    counts = jnp.zeros((num_classes, num_classes), jnp.int32)
    return counts.at[label, prediction].add(mask.astype(jnp.int32))


def correct_in_top_k(logits: jax.Array, label: jax.Array, k: int) -> jax.Array:
    """Whether fewer than k classes score higher than the label's; bool[B].

    Among equal scores the lower class comes first, as in `argmax`, so that top-1 is accuracy.
    A NaN among the logits is never correct.
    """
    own = jnp.take_along_axis(logits, label[:, None], axis=-1)
    classes = jnp.arange(logits.shape[-1])
    higher = (logits > own) | ((logits == own) & (classes < label[:, None]))
    return (higher.sum(-1) < k) & ~jnp.isnan(logits).any(-1)


class Margins(NamedTuple):
    """Diagonals and sums of confusion matrices; float64[..., K] each."""

    hits: np.ndarray  # examples of the class that were predicted as it
    support: np.ndarray  # examples of the class
    predicted: np.ndarray  # examples that were predicted as the class


def margins(confusion: np.ndarray) -> Margins:
    """Margins of counts [..., K, K]; rows: label, columns: prediction."""
    confusion = np.asarray(confusion)
    hits = np.diagonal(confusion, axis1=-2, axis2=-1)
    counts = (hits, confusion.sum(-1), confusion.sum(-2))
    return Margins(*(count.astype(np.float64) for count in counts))


def per_class(counts: Margins) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of each class; float64[..., K], 0 where undefined.

    The same as scikit-learn's `precision_recall_fscore_support(zero_division=0)`.
    """
    hits, support, predicted = counts
    return {
        "precision": ratio(hits, predicted),
        "recall": ratio(hits, support),
        "f1": ratio(2 * hits, support + predicted),
    }


def averages(counts: Margins) -> dict[str, np.ndarray]:
    """Precision, recall and F1 over all classes; float64[...], NaN where there are no examples.

    `_macro`: mean over the classes that occur as label or prediction, which is what scikit-learn
    averages; `_micro`; `_weighted`: by support.
    """
    total = counts.support.sum(-1)
    occurs = counts.support + counts.predicted > 0
    # Each example has one label and one prediction: micro-averages all equal accuracy.
    micro = ratio(counts.hits.sum(-1), total, np.nan)
    result = {}
    for name, values in per_class(counts).items():
        present = np.where(occurs, values, 0.0).sum(-1)
        result[f"{name}_macro"] = ratio(present, occurs.sum(-1), np.nan)
        result[f"{name}_micro"] = micro
        result[f"{name}_weighted"] = ratio((values * counts.support).sum(-1), total, np.nan)
    return result


def summarize(sums: dict[str, np.ndarray]) -> dict[str, float]:
    """Turns the sums of an evaluation into metrics.

    sums: what `eval_step` returns, added over batches (`confusion` in int64, `loss` in float64).
    Returns num_examples, loss (mean, nats), accuracy, top5_accuracy (where K > 5) and those of
    `averages`. For empty data loss and accuracies are NaN.

    >>> import numpy as np
    >>> from jaxcnn import summarize
    >>> summarize({"confusion": np.array([[3, 1], [0, 4]]), "loss": 2.0, "top5": 8})["accuracy"]
    0.875
    """
    confusion = np.asarray(sums["confusion"])
    count = int(confusion.sum())
    mean = (lambda total: float(total) / count) if count else (lambda total: float("nan"))
    metrics = {"num_examples": count, "loss": mean(sums["loss"])}
    metrics["accuracy"] = mean(np.trace(confusion))
    if len(confusion) > 5:
        metrics["top5_accuracy"] = mean(sums["top5"])
    metrics |= {name: float(value) for name, value in averages(margins(confusion)).items()}
    return metrics


def ratio(numerator: np.ndarray, denominator: np.ndarray, undefined: float = 0.0) -> np.ndarray:
    """The quotient in float64, `undefined` where the denominator is 0."""
    empty = np.full(np.broadcast_shapes(np.shape(numerator), np.shape(denominator)), undefined)
    return np.divide(numerator, denominator, out=empty, where=np.asarray(denominator) != 0)


def max_softmax(logits: jax.Array) -> jax.Array:
    """1 - the largest probability, float32[B] in 0..1 - 1/K, from logits[B, K].

    Hendrycks & Gimpel 2017, arXiv:1610.02136: the baseline.
    """
    return 1 - jax.nn.softmax(logits.astype(jnp.float32)).max(-1)


def energy(logits: jax.Array, temperature: float = 1.0) -> jax.Array:
    """-T log sum_k exp(logit_k / T), float32[B], from logits[B, K].

    Liu et al. 2020, arXiv:2010.03759. Unlike probabilities it keeps how large the logits are.
    temperature: T > 0.
    """
    if not temperature > 0:
        raise ValueError(f"temperature={temperature!r}: expected a number above 0")
    return -temperature * jax.nn.logsumexp(logits.astype(jnp.float32) / temperature, -1)


# Scores, from logits, that are larger for images unlike the training data. Only their order counts
# (the area under the ROC curve), not their values.
OUTLIER_SCORES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "max_softmax": max_softmax,
    "energy": energy,
}
