"""Losses: one number per example, so that masks, weights and means stay the step's business."""

import jax
import jax.numpy as jnp


def cross_entropy(
    logits: jax.Array, label: jax.Array, *, label_smoothing: float = 0.0
) -> jax.Array:
    """Softmax cross-entropy, in nats.

    logits: float32[B, K]; label: int32[B].
    label_smoothing: the share of the target spread evenly over all K classes
      (Szegedy et al. 2016, arXiv:1512.00567).
    Returns float32[B].
    """
    log_probabilities = jax.nn.log_softmax(logits)
    nll = -jnp.take_along_axis(log_probabilities, label[:, None], axis=-1)[:, 0]
    if not label_smoothing:
        return nll
    return (1 - label_smoothing) * nll - label_smoothing * log_probabilities.mean(-1)
