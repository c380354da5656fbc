"""Test-time augmentation: a model's mean probabilities for several views of an image. Nothing is
drawn, so that a prediction is a function of the image alone.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxcnn.core.state import TrainState

Batch = dict[str, jax.Array]
# image [B, H, W, C] -> other views of it
View = Callable[[jax.Array], list[jax.Array]]


def flip(image: jax.Array) -> list[jax.Array]:
    """The image mirrored left-right."""
    return [image[:, :, ::-1]]


def shift(image: jax.Array) -> list[jax.Array]:
    """The image shifted by 1/32 of the shorter side along the diagonal, both ways (Jordan 2024,
    arXiv:2404.00498: by 1 pixel of 32); the border is mirrored.
    """
    _, height, width, _ = image.shape
    pixels = max(1, min(height, width) // 32)
    padded = jnp.pad(image, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)), "symmetric")
    corners = (0, 2 * pixels)
    return [padded[:, at : at + height, at : at + width] for at in corners]


VIEWS: dict[str, View] = {"flip": flip, "shift": shift}


def all_views(image: jax.Array, names: Sequence[str]) -> list[jax.Array]:
    """The image and, for each name, further views of all so far: two views for ("flip",), six for
    ("shift", "flip"), as in Jordan 2024.
    """
    views = [image]
    for name in names:
        views += [new for view in views for new in VIEWS[name](view)]
    return views


def with_views(
    predict_step: Callable[[TrainState, Batch], Batch], names: Sequence[str]
) -> Callable[[TrainState, Batch], Batch]:
    """Returns the step with one more output, "views": the logarithms of the mean probabilities of
    `all_views`, float32[B, K]. Without names it is the step itself.
    """
    if not names:
        return predict_step

    def step(state: TrainState, batch: Batch) -> Batch:
        outputs = predict_step(state, batch)
        _, *others = all_views(batch["image"], names)  # the first is the image itself
        logits = [predict_step(state, batch | {"image": image})["logits"] for image in others]
        log_probabilities = jax.nn.log_softmax(jnp.stack([outputs["logits"], *logits]))
        mean = jax.nn.logsumexp(log_probabilities, axis=0) - jnp.log(1 + len(others))
        return outputs | {"views": mean}

    return step
