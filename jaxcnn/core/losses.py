"""Losses: one number per example; the step applies masks and means."""

from collections.abc import Callable, Sequence

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

    >>> import jax.numpy as jnp
    >>> from jaxcnn import cross_entropy
    >>> cross_entropy(jnp.zeros((1, 4)), jnp.array([2]))  # log 4
    Array([1.3862944], dtype=float32)
    """
    log_probabilities = jax.nn.log_softmax(logits)
    if class_weights is not None:
        log_probabilities = _weights(class_weights, logits) * log_probabilities
    if label.ndim == 2:
        nll = -(label * log_probabilities).sum(-1)
    else:
        nll = -jnp.take_along_axis(log_probabilities, label[:, None], axis=-1)[:, 0]
    if isinstance(label_smoothing, int | float) and label_smoothing == 0:
        return nll
    return (1 - label_smoothing) * nll - label_smoothing * log_probabilities.mean(-1)


def focal(
    logits: jax.Array,
    label: jax.Array,
    *,
    gamma: float = 2.0,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] | None = None,
) -> jax.Array:
    """Cross-entropy with a factor (1 - p_k)**gamma for each class, so that examples already right
    count little (Lin et al. 2017, arXiv:1708.02002): -sum_k target_k weight_k (1 - p_k)**gamma
    log p_k. With gamma=0 it is `cross_entropy`; the other arguments are the same.
    """
    if gamma < 0:
        raise ValueError(f"gamma={gamma!r}: expected a number from 0")
    num_classes = logits.shape[-1]
    target = label if label.ndim == 2 else jax.nn.one_hot(label, num_classes, dtype=logits.dtype)
    target = (1 - label_smoothing) * target + label_smoothing / num_classes
    log_probabilities = jax.nn.log_softmax(logits)
    # Not 0, where a power below 1 has no derivative.
    missing = jnp.maximum(-jnp.expm1(log_probabilities), jnp.finfo(logits.dtype).tiny)
    terms = target * missing**gamma * log_probabilities
    if class_weights is not None:
        terms = _weights(class_weights, logits) * terms
    return -terms.sum(-1)


LOSSES: dict[str, Callable[..., jax.Array]] = {"cross_entropy": cross_entropy, "focal": focal}


def _weights(class_weights: Sequence[float], logits: jax.Array) -> jax.Array:
    weights = jnp.asarray(class_weights, logits.dtype)
    if weights.shape != logits.shape[-1:]:
        raise ValueError(f"{len(weights)} class weights for {logits.shape[-1]} classes")
    return weights


def balanced_weights(counts: np.ndarray) -> np.ndarray:
    """Class weights under which all classes weigh the same together, and an example 1 on average.

    counts: int[K], the examples of each class. Returns float64[K]: N / (K' n_k), where K' is the
    number of classes that occur (King & Zeng 2001); 0 for a class that does not.

    >>> from jaxcnn import balanced_weights
    >>> balanced_weights([30, 10]).round(3).tolist()  # 40 / (2 * 30), 40 / (2 * 10)
    [0.667, 2.0]
    """
    counts = np.asarray(counts, np.float64)
    present = counts > 0
    shares = np.where(present, counts, np.inf) * present.sum()
    return counts.sum() / shares
