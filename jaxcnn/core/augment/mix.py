"""Operations that mix each example with its neighbour: soft labels.

The partner of example 2k in a batch is 2k + 1, and the other way round. So an example is mixed with
the same partner however many devices share the batch, as long as each holds an even number.
Padding (mask False) is mixed into nobody.
"""

from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxcnn.core.augment import draws
from jaxcnn.core.augment.erase import rectangle

Batch = Mapping[str, jax.Array]


def mixup(
    keys: jax.Array,
    batch: Batch,
    alpha: float = 0.2,
    probability: float = 1.0,
    *,
    num_classes: int,
) -> dict[str, jax.Array]:
    """Blends each image with its partner's, and their labels alike.

    Zhang et al. 2018, arXiv:1710.09412 (alpha 0.2 to 0.4 for ImageNet, 1 for CIFAR).

    alpha: an example's own weight is drawn from Beta(alpha, alpha).
    num_classes: K. Returns the batch with image float32[B, H, W, C] and label float32[B, K].
    """
    weight, _ = _own_weight(keys, batch, alpha, probability)
    image = batch["image"].astype(jnp.float32)
    other = swap_neighbours(batch["image"]).astype(jnp.float32)
    image = image + draws.per_image(1 - weight) * (other - image)
    return {**batch, "image": image, "label": _mixed_labels(batch, weight, num_classes)}


def cutmix(
    keys: jax.Array,
    batch: Batch,
    alpha: float = 1.0,
    probability: float = 1.0,
    *,
    num_classes: int,
) -> dict[str, jax.Array]:
    """Pastes a rectangle of its partner's image into each, at the same place.

    Yun et al. 2019, arXiv:1905.04899. The labels' weights are the exact shares of pixels.

    alpha: the share of pixels that an example keeps is drawn from Beta(alpha, alpha), before the
      rectangle is cut at the image's edges.
    num_classes: K. Returns the batch with label float32[B, K]; the image keeps its dtype.
    """
    weight, (down, right) = _own_weight(keys, batch, alpha, probability)
    image = batch["image"]
    _, height, width, _ = image.shape
    side = jnp.sqrt(1 - weight)

    def edges(unit, size):
        """Where the rectangle begins and ends along an axis, whole pixels within the image."""
        centre, half = jnp.floor(unit * size), side * size / 2
        return (jnp.round(jnp.clip(edge, 0, size)) for edge in (centre - half, centre + half))

    (top, bottom), (start, end) = edges(down, height), edges(right, width)
    box = rectangle(top, bottom, start, end, height, width)
    weight = 1 - (bottom - top) * (end - start) / (height * width)
    image = jnp.where(box, swap_neighbours(image), image)
    return {**batch, "image": image, "label": _mixed_labels(batch, weight, num_classes)}


def swap_neighbours(values: jax.Array) -> jax.Array:
    """[B, ...] with 2k and 2k + 1 exchanged; ValueError where B is odd."""
    if len(values) % 2:
        raise ValueError(
            f"a batch of {len(values)} on one device: neighbours mix in pairs; give an even number"
        )
    pairs = values.reshape(-1, 2, *values.shape[1:])
    return pairs[:, ::-1].reshape(values.shape)


def symmetric_beta(unit: jax.Array, angle: jax.Array, alpha: float) -> jax.Array:
    """Beta(alpha, alpha) from two uniform numbers: float32, the shape of both.

    Exact for every alpha > 0, by Bailey's polar method for Student's t with 2 alpha degrees of
    freedom (Bailey 1994, Math. Comp. 62; Devroye 1996). `jax.random.beta` rejects in a loop, which
    takes a second to compile.
    """
    cos = jnp.cos(2 * jnp.pi * angle)
    # t**2 / (2 alpha); a unit of 0 gives infinity, and so 0 or 1.
    t_squared = jnp.expm1(-jnp.log(unit) / alpha) * cos**2
    return 0.5 + 0.5 * jnp.sign(cos) / jnp.sqrt(1 + 1 / t_squared)


def _own_weight(keys, batch, alpha, probability):
    """Each example's weight of itself, float32[B], and two more uniform numbers [2, B]."""
    if not 0 < alpha < jnp.inf:
        raise ValueError(f"alpha={alpha!r}: expected a number above 0")
    unit, angle, chance, *more = draws.uniform(keys, 5)
    mixes = draws.applies(chance, probability) & swap_neighbours(batch["mask"])
    return jnp.where(mixes, symmetric_beta(unit, angle, alpha), 1), more


def _mixed_labels(batch: Batch, weight: jax.Array, num_classes: int) -> jax.Array:
    label = batch["label"]
    if label.ndim == 1:
        label = jax.nn.one_hot(label, num_classes, dtype=jnp.float32)
    weight = weight[:, None]
    return weight * label + (1 - weight) * swap_neighbours(label)
