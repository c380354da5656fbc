"""Test-time augmentation: the mean of what a model says of several views of an image.

A view is chosen without chance, so that a prediction is a function of the image alone.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxcnn.core.state import TrainState

Batch = dict[str, jax.Array]
# image [B, H, W, C] -> the views of it that come to those there are
View = Callable[[jax.Array], list[jax.Array]]


def flip(image: jax.Array) -> list[jax.Array]:
    """Mirrored, left to right."""
    return [image[:, :, ::-1]]


def shift(image: jax.Array) -> list[jax.Array]:
    """Shifted by 1/32 of the shorter side along the diagonal, both ways (Jordan 2024,
    arXiv:2404.00498, does so by one pixel of 32); what enters is mirrored from the border.
    """
    _, height, width, _ = image.shape
    pixels = max(1, min(height, width) // 32)
    padded = jnp.pad(image, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), "symmetric")
    corners = (0, 2 * pixels)
    return [padded[:, at : at + height, at : at + width] for at in corners]


VIEWS: dict[str, View] = {"flip": flip, "shift": shift}


def all_views(image: jax.Array, names: Sequence[str]) -> list[jax.Array]:
    """The image and, for each name, the views of all before: two for "flip", six for both. Shifted
    and then mirrored, ("shift", "flip"), they are as many as Jordan 2024 takes.
    """
    views = [image]
    for name in names:
        views += [new for view in views for new in VIEWS[name](view)]
    return views


def with_views(
    predict_step: Callable[[TrainState, Batch], Batch], names: Sequence[str]
) -> Callable[[TrainState, Batch], Batch]:
    """Returns the same step with one more output, "views": the logarithms of the views' mean
    probabilities, float32[B, K], see `all_views`. Without names it is the step itself.
    """
    if not names:
        return predict_step

    def step(state: TrainState, batch: Batch) -> Batch:
        outputs = predict_step(state, batch)
        _, *others = all_views(batch["image"], names)  # the first is the image itself
        logits = [predict_step(state, batch | {"image": image})["logits"] for image in others]
        return outputs | {"views": _mean([outputs["logits"], *logits])}

    return step


def mean_logits(
    logits: Callable[[jax.Array], jax.Array], image: jax.Array, names: Sequence[str]
) -> jax.Array:
    """The logarithms of the views' mean probabilities, float32[B, K]; without names the logits.

    logits: image [B, H, W, C] -> float32[B, K].
    """
    if not names:
        return logits(image)
    return _mean([logits(view) for view in all_views(image, names)])


def _mean(logits: Sequence[jax.Array]) -> jax.Array:
    log_probabilities = jax.nn.log_softmax(jnp.stack(logits))
    return jax.nn.logsumexp(log_probabilities, axis=0) - jnp.log(len(logits))
