"""Adversarial examples: small changes of pixels that mislead a model.

Pure functions on images in 0..255, each example changed on its own. `predict` is the model in
evaluation mode with everything before it, image float32[B, H, W, C] in 0..255 -> logits[B, K]:

    def predict(image):
        return model.apply(state.variables, normalize(image), train=False)

Changes are untargeted and at most `epsilon` in every value (L-infinity), 8 of 255 being usual for
CIFAR-10; images stay in 0..255 and are not rounded.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxcnn.core.augment.draws import check_amount, random_unit
from jaxcnn.core.losses import cross_entropy

Predict = Callable[[jax.Array], jax.Array]
Amount = float | jax.Array


def fgsm(predict: Predict, image: jax.Array, label: jax.Array, epsilon: Amount) -> jax.Array:
    """One step of size epsilon up the loss: the fast gradient sign method.

    Goodfellow et al. 2015, arXiv:1412.6572.

    image: uint8 or float[B, H, W, C] in 0..255; label: int32[B], the right classes.
    epsilon: in grey levels of 255, from 0; given as float32[], one compiled function does for all.
    Returns float32[B, H, W, C].
    """
    _check("epsilon", epsilon)
    image = image.astype(jnp.float32)
    return jnp.clip(image + epsilon * _direction(predict, image, label), 0, 255)


def pgd(
    keys: jax.Array,
    predict: Predict,
    image: jax.Array,
    label: jax.Array,
    epsilon: Amount,
    *,
    steps: int = 10,
    step_size: Amount | None = None,
) -> jax.Array:
    """Many small steps up the loss from a random start: projected gradient descent.

    Madry et al. 2018, arXiv:1706.06083.

    keys: [B], one for each example's start, which is uniform in the ball around the image.
    image, label, epsilon: as in `fgsm`; step_size: None for a quarter of epsilon, as in the paper.
    Returns float32[B, H, W, C].

    The steps are a Python loop: XLA:CPU takes 4.5 times as long for gradients of convolutions
    inside its own loops (`CNN()`, 128 images of 32x32 pixels, 2 cores). Under `jit` all steps are
    compiled; outside, with a `predict` that is jitted, one.
    """
    _check("epsilon", epsilon)
    if steps < 1:
        raise ValueError(f"steps={steps!r}: expected a whole number from 1")
    step_size = epsilon / 4 if step_size is None else step_size
    _check("step_size", step_size)
    image = image.astype(jnp.float32)
    low, high = jnp.maximum(image - epsilon, 0), jnp.minimum(image + epsilon, 255)
    start = 2 * random_unit(keys, image.shape[1:]) - 1
    attacked = jnp.clip(image + epsilon * start, low, high)
    for _ in range(steps):
        direction = _direction(predict, attacked, label)
        attacked = jnp.clip(attacked + step_size * direction, low, high)
    return attacked


def _direction(predict: Predict, image: jax.Array, label: jax.Array) -> jax.Array:
    """The sign of each example's own loss's gradient by its image, float32[B, H, W, C]."""

    def loss(image):
        return cross_entropy(predict(image).astype(jnp.float32), label).sum()

    return jnp.sign(jax.grad(loss)(image))


def _check(name: str, value: Amount) -> None:
    if not isinstance(value, jax.Array):
        check_amount(name, value, "a number of grey levels")


# (keys[B], predict, image, label, epsilon) -> image
ATTACKS: dict[str, Callable[..., jax.Array]] = {
    "fgsm": lambda keys, *arguments: fgsm(*arguments),
    "pgd": pgd,
}
