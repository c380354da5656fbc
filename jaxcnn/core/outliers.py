"""How foreign an image is to a model, from its logits: scores that grow with foreignness.

What separates images of the training data's kind from others is how the scores of both are ranked
(the area under the ROC curve), not their values.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp


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


OUTLIER_SCORES: dict[str, Callable[[jax.Array], jax.Array]] = {
    "max_softmax": max_softmax,
    "energy": energy,
}
