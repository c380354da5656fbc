"""Metrics: sums and counts on the device, ratios in one place on the host."""

import jax
import jax.numpy as jnp
import numpy as np


def confusion_matrix(
    label: jax.Array, prediction: jax.Array, mask: jax.Array, num_classes: int
) -> jax.Array:
    """Counts int32[K, K]; entry [i, j]: examples of class i that were called j.

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
    ahead = (logits > own) | ((logits == own) & (classes < label[:, None]))
    return (ahead.sum(-1) < k) & ~jnp.isnan(logits).any(-1)


def per_class(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Precision, recall and F1 of each class from counts [K, K]; float64[K], 0 where undefined.

    The same as scikit-learn's `precision_recall_fscore_support(zero_division=0)`.
    """
    confusion = np.asarray(confusion, np.float64)
    hits = np.diag(confusion)
    support, predicted = confusion.sum(1), confusion.sum(0)
    return {
        "precision": _ratio(hits, predicted),
        "recall": _ratio(hits, support),
        "f1": _ratio(2 * hits, support + predicted),
        "support": support,
    }


def summarize(sums: dict[str, np.ndarray]) -> dict[str, float]:
    """Turns the sums of an evaluation into metrics.

    sums: what `eval_step` returns, added over batches (`confusion` in int64, `loss` in float64).
    Returns num_examples, loss (mean, nats), accuracy, top5_accuracy (where K > 5) and precision,
    recall and F1 as `_macro` (mean over the classes that occur as label or prediction: what
    scikit-learn averages), `_micro` and `_weighted` (by support). Empty data gives NaN losses and
    accuracies are NaN too: nothing was measured.
    """
    confusion = np.asarray(sums["confusion"])
    count = int(confusion.sum())
    hits = np.trace(confusion)
    mean = (lambda total: float(total) / count) if count else (lambda total: float("nan"))
    metrics = {
        "num_examples": count,
        "loss": mean(sums["loss"]),
        "accuracy": mean(hits),
    }
    if len(confusion) > 5:
        metrics["top5_accuracy"] = mean(sums["top5"])
    classes = per_class(confusion)
    occurs = (confusion.sum(0) + confusion.sum(1)) > 0
    for name in ("precision", "recall", "f1"):
        values = classes[name]
        metrics[f"{name}_macro"] = float(values[occurs].mean()) if count else float("nan")
        # Each example has one label and one prediction: micro-averages all equal accuracy.
        metrics[f"{name}_micro"] = metrics["accuracy"]
        metrics[f"{name}_weighted"] = mean((values * classes["support"]).sum())
    return metrics


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator != 0)
