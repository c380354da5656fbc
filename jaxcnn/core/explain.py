"""Explanations of models: Grad-CAM, occlusion, feature maps, the filters of the first layer.

Pure functions of (model, variables, image), which `jit` compiles with the model and all keywords
bound by `functools.partial`. Images are float[B, H, W, C] as the model sees them, normalised
already; `variables` is `TrainState.variables`. Maps are float32. A model needs `features`, see
`jaxcnn.core.models`, for Grad-CAM and feature maps.
"""

import inspect
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.core.models.airbench import Whitening
from jaxcnn.core.models.layers import Stages

PyTree = Any
Variables = dict[str, PyTree]


def has_features(model: nn.Module) -> bool:
    """Whether a model takes `features=True`, to return its stages; a user's own may not."""
    return "features" in inspect.signature(model.__call__).parameters


def spatial_stages(model: nn.Module, variables: Variables, image: jax.Array) -> tuple[str, ...]:
    """Names of the stages whose maps have more than one position, in their order; () for a model
    that does not give its stages.

    image: float[B, H, W, C], or its `jax.ShapeDtypeStruct`: nothing is computed.
    """
    if not has_features(model):
        return ()
    stages = _stage_shapes(model, variables, image)
    return tuple(name for name, x in stages.items() if x.ndim == 4 and x.shape[1] * x.shape[2] > 1)


def feature_maps(model: nn.Module, variables: Variables, image: jax.Array) -> Stages:
    """The output of each stage of `spatial_stages`, float32[B, h, w, c], in their order."""
    names = spatial_stages(model, variables, image)
    _, stages = model.apply(variables, image, train=False, features=True)
    return Stages((name, stages[name].astype(jnp.float32)) for name in names)


def grad_cam(
    model: nn.Module,
    variables: Variables,
    image: jax.Array,
    class_index: jax.Array,
    stage: str | None = None,
) -> jax.Array:
    """Maps of the places whose features speak for a class: float32[B, H, W] in 0..1.

    Selvaraju et al. 2017, arXiv:1610.02391: the weight of a channel is the gradient of the class's
    logit, averaged over positions; the positive part of the weighted sum of channels is resized
    bilinearly to the image and divided by its largest value, if that is above 0.

    class_index: int32[B], the class to explain, of each image its own.
    stage: one of `spatial_stages`; None for the last of them.
    ValueError for a stage there is not, and if no stage has more than one position.
    """
    names = spatial_stages(model, variables, image)
    if not names:
        raise ValueError(f"images of shape {image.shape}: no stage has more than one position")
    stage = names[-1] if stage is None else stage
    if stage not in names:
        raise ValueError(f"stage={stage!r}: expected one of {', '.join(names)}")
    shapes = _stage_shapes(model, variables, image)
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)

    def score(added):
        perturbed = {**variables, "perturbations": {**zeros, stage: added}}
        logits, stages = model.apply(perturbed, image, train=False, features=True)
        # Each image's logit depends on its own features alone: the gradient of the sum has all.
        return jnp.take_along_axis(logits, class_index[:, None], axis=1).sum(), stages[stage]

    gradient, feature = jax.grad(score, has_aux=True)(zeros[stage])
    weight = gradient.astype(jnp.float32).mean((1, 2), keepdims=True)
    maps = nn.relu((weight * feature.astype(jnp.float32)).sum(-1))
    maps = jax.image.resize(maps, image.shape[:3], "bilinear")
    largest = maps.max((1, 2), keepdims=True)
    # Compiled, x / x may be the next number above 1.
    return jnp.minimum(maps / jnp.maximum(largest, jnp.finfo(jnp.float32).tiny), 1)


def occlusion(
    model: nn.Module,
    variables: Variables,
    image: jax.Array,
    class_index: jax.Array,
    *,
    patch: int | None = None,
    stride: int | None = None,
    max_images: int = 256,
) -> jax.Array:
    """Maps of the fall of a class's probability if a place is covered: float32[B, H, W] in -1..1.

    Zeiler & Fergus 2014, arXiv:1311.2901: a square of the image's mean colour moves over it. A
    pixel gets the mean over all squares that cover it; below 0, covering it helps the class.

    class_index: int32[B], the class to explain, of each image its own.
    patch: side of the square in pixels; None for a quarter of the shorter side.
    stride: pixels from one square to the next; None for half a square. The last row and column of
      squares end at the image's edges.
    max_images: covered images in memory at a time; at least one of each image.
    ValueError for a square larger than the image, and a stride that would leave pixels out.
    """
    batch, height, width, _ = image.shape
    patch = max(1, min(height, width) // 4) if patch is None else patch
    stride = max(1, patch // 2) if stride is None else stride
    if not 1 <= patch <= min(height, width):
        raise ValueError(f"patch={patch!r}: expected 1 to {min(height, width)} pixels")
    if not 1 <= stride <= patch:
        raise ValueError(f"stride={stride!r}: expected 1 to {patch} pixels, the side of a square")
    rows, columns = (_intervals(size, patch, stride) for size in (height, width))
    colour = image.mean((1, 2), keepdims=True)

    def probability(image):
        logits = jnp.asarray(model.apply(variables, image, train=False))
        probabilities = jax.nn.softmax(logits.astype(jnp.float32))
        return jnp.take_along_axis(probabilities, class_index[:, None], axis=1)[:, 0]

    def probability_without(place):
        row, column = place
        square = (row[:, None] & column)[:, :, None]
        return probability(jnp.where(square, colour, image))

    places = np.repeat(rows, len(columns), 0), np.tile(columns, (len(rows), 1))
    left = jax.lax.map(probability_without, places, batch_size=max(1, max_images // batch))
    drop = (probability(image) - left).reshape(len(rows), len(columns), batch)
    rows, columns = (one / one.sum(0) for one in (rows, columns))
    return jnp.einsum("rcb,rh,cw->bhw", drop, rows, columns, precision="highest").astype(
        jnp.float32
    )


def first_layer_filters(
    model: nn.Module, variables: Variables, image: jax.Array
) -> jax.Array | None:
    """The kernel of the convolution that is applied first, [kh, kw, c_in, c_out]; None without one.

    image: as in `spatial_stages`. The order of application is seen by tracing: parameters come
    sorted by name out of every transformation.
    """
    paths: list[tuple[str, ...]] = []

    def note(call, arguments, keywords, context):
        if isinstance(context.module, nn.Conv | Whitening) and context.method_name == "__call__":
            paths.append(context.module.path)
        return call(*arguments, **keywords)

    with nn.intercept_methods(note):
        jax.eval_shape(partial(model.apply, train=False), variables, image)
    if not paths:
        return None
    weights = [variables.get(collection, {}) for collection in ("params", "batch_stats")]
    for name in paths[0]:
        weights = [part[name] for part in weights if name in part]
    return next(part["kernel"] for part in weights if "kernel" in part)


def _stage_shapes(model: nn.Module, variables: Variables, image: jax.Array) -> Stages:
    """The shape and dtype of each stage's output, by name."""
    apply = partial(model.apply, train=False, features=True)
    return jax.eval_shape(apply, variables, image)[1]


def _intervals(size: int, length: int, stride: int) -> np.ndarray:
    """bool[n, size]: intervals of `length` from the first position to the last, covering all."""
    starts = [*range(0, size - length, stride), size - length]
    positions = np.arange(size)
    return np.stack([(positions >= start) & (positions < start + length) for start in starts])
