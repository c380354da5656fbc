"""Losses: one number per example, so that masks, weights and means stay the step's business."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def cross_entropy(
    logits: jax.Array,
    label: jax.Array,
    *,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
) -> jax.Array:
    """Softmax cross-entropy, in nats: -sum_k target_k weight_k log p_k.

    logits: float32[B, K]; label: int32[B], or float32[B, K] of shares that add to 1.
    label_smoothing: the share of the target spread evenly over all K classes
      (Szegedy et al. 2016, arXiv:1512.00567).
    class_weights: K numbers, or None for 1 each.
    Returns float32[B]. It is not divided by the weights: the mean over data with balanced weights
    (`balanced_weights`) has the scale of the mean without.
    """
    log_probabilities = jax.nn.log_softmax(logits)
    weights = None if class_weights is None else jnp.asarray(class_weights, logits.dtype)
    if weights is not None:
        if weights.shape != logits.shape[-1:]:
            raise ValueError(f"{len(weights)} class weights for {logits.shape[-1]} classes")
        log_probabilities = weights * log_probabilities
    if label.ndim == 2:
        nll = -(label * log_probabilities).sum(-1)
    else:
        nll = -jnp.take_along_axis(log_probabilities, label[:, None], axis=-1)[:, 0]
    if not label_smoothing:
        return nll
    return (1 - label_smoothing) * nll - label_smoothing * log_probabilities.mean(-1)


def balanced_weights(counts: np.ndarray) -> np.ndarray:
    """Class weights under which all classes weigh the same together, and an example 1 on average.

    counts: int[K], the examples of each class. Returns float64[K]: N / (K' n_k), where K' is the
    number of classes that occur (King & Zeng 2001); 0 for a class that does not.
    """
    counts = np.asarray(counts, np.float64)
    present = counts > 0
    shares = np.where(present, counts, np.inf) * present.sum()
    return counts.sum() / shares
