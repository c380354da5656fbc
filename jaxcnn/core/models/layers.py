"""What the model families share: activations, norms and pooling by name, the outputs of stages, the
last layer, and the checks of keywords.
"""

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Activation = Callable[[jax.Array], jax.Array]
Layer = Callable[..., Any]  # a constructor of layers

ACTIVATIONS: dict[str, Activation] = {
    "relu": nn.relu,
    "leaky_relu": nn.leaky_relu,
    "elu": nn.elu,
    "gelu": nn.gelu,
    "gelu_exact": partial(nn.gelu, approximate=False),
    "silu": nn.silu,
    "relu6": nn.relu6,
    "hard_swish": nn.hard_swish,
    "tanh": nn.tanh,
}


class MaxPool(nn.Module):
    """`flax.linen.max_pool` as a layer, so that an interceptor of layers sees it."""

    window_shape: tuple[int, ...]
    strides: tuple[int, ...] | None = None
    padding: str | tuple[tuple[int, int], ...] = "VALID"

    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.max_pool(x, self.window_shape, self.strides, self.padding)


def max_pool(x: jax.Array, **keywords: Any) -> jax.Array:
    """`MaxPool(**keywords)` of x, within a module that is called."""
    return MaxPool(**keywords)(x)


POOLS: dict[str, Callable[..., jax.Array]] = {"max": max_pool, "avg": nn.avg_pool}


# An ordinary dict would be sorted by name on its way out of `jit`.
Stages = OrderedDict[str, jax.Array]
Output = jax.Array | tuple[jax.Array, Stages]


def keep(module: nn.Module, stages: Stages, name: str, x: jax.Array) -> jax.Array:
    """Puts the output of a stage into `stages` under its name; returns it for the next stage.

    A gradient with respect to it is one with respect to the variable `name` of the collection
    "perturbations", zeros of its shape, which is added where the collection is passed to `apply`
    (then for all stages). Initialisation makes none, as its shapes would be those of one image.
    """
    if not module.is_initializing():
        x = module.perturb(name, x)
    stages[name] = x
    return x


def norm_layer(
    name: str, *, train: bool, dtype: Any = None, axis_name: str | None = None
) -> Callable[..., Activation]:
    """Returns a constructor of norm layers; its keywords go to the linen module (`scale_init`).

    name: "batch", "group" (at most 32 groups, of at least 4 channels where there are as many),
      "layer" or "none".
    axis_name: the mapped axis to average batch statistics over; None under `jit`, where the
      statistics are those of the whole batch already.
    """
    batch: Any = {"use_running_average": not train, "momentum": 0.9, "epsilon": 1e-5}
    norms = {
        "batch": partial(nn.BatchNorm, **batch, dtype=dtype, axis_name=axis_name),
        "group": partial(_GroupNorm, dtype=dtype),
        "layer": partial(nn.LayerNorm, dtype=dtype),
        "none": lambda **_: lambda x: x,
    }
    return choose(norms, "norm", name)


class _GroupNorm(nn.Module):
    """GroupNorm (Wu & He 2018, arXiv:1803.08494) for any number of channels."""

    dtype: Any = None
    scale_init: Callable = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        # With one channel a group, 1x1 pixels would all become 0.
        most = max(1, min(32, channels // 4))
        num_groups = next(n for n in range(most, 0, -1) if channels % n == 0)
        return nn.GroupNorm(num_groups=num_groups, dtype=self.dtype, scale_init=self.scale_init)(x)


def padded_conv(features: int, kernel_size: tuple[int, int], **keywords: Any) -> nn.Conv:
    """A convolution with half its kernel's size in zeros on every side, as in PyTorch.

    "SAME" shifts strided convolutions of even sizes by half a pixel; published weights do not fit.
    """
    padding = [(size // 2, size // 2) for size in kernel_size]
    return nn.Conv(features, kernel_size, padding=padding, **keywords)


# The scale of He et al. 2015 (arXiv:1502.01852), by the channels of the output.
HE_FAN_OUT = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def conv_layer(model: nn.Module, kernel_init: Callable = HE_FAN_OUT) -> Layer:
    """Returns a constructor of `padded_conv`, in a model's dtype, without biases beside norms."""
    use_bias = model.norm == "none"
    return partial(padded_conv, kernel_init=kernel_init, use_bias=use_bias, dtype=model.dtype)


class SqueezeExcite(nn.Module):
    """Multiplies each channel by a weight that the whole image decides (Hu et al. 2018,
    arXiv:1709.01507).

    squeeze: channels between the two 1x1 convolutions; conv: constructor of those.
    names: of the two convolutions.
    """

    squeeze: int
    conv: Layer
    activation: Activation = nn.relu
    gate: Activation = nn.sigmoid
    names: tuple[str, str] = ("squeeze", "excite")

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        first, second = self.names
        weight = x.mean((1, 2), keepdims=True)
        weight = self.activation(self.conv(self.squeeze, (1, 1), name=first)(weight))
        return x * self.gate(self.conv(x.shape[-1], (1, 1), name=second)(weight))


class StochasticDepth(nn.Module):
    """Leaves out what a residual block adds, for whole images at random (Huang et al. 2016,
    arXiv:1603.09382); what is kept is divided by the chance of that. Draws from "dropout".

    rate: chance to be left out in training; `depth_rates` gives one for each block.
    """

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return nn.Dropout(self.rate, broadcast_dims=(1, 2, 3))(x, deterministic=not train)


def depth_rates(last: float, blocks: int) -> list[float]:
    """The rate of each of `blocks` blocks, from 0 for the first in equal steps to `last`."""
    return [last * block / max(1, blocks - 1) for block in range(blocks)]


def dropout(x: jax.Array, rate: float, train: bool, **keywords: Any) -> jax.Array:
    """Sets the share `rate` of the values to 0 in training; without any layer where it is 0."""
    return nn.Dropout(rate, **keywords)(x, deterministic=not train) if rate else x


def classify(
    model: nn.Module,
    stages: Stages,
    x: jax.Array,
    features: bool,
    name: str | None = "head",
    scale: float | None = None,
    **keywords: Any,
) -> Output:
    """The end of a model: keeps x, [B, D], as the stage "penultimate", and returns the logits of a
    dense layer, float32[B, K], with the stages if `features`.

    model: with num_classes and dtype; scale: a factor of the logits; keywords: of the dense layer.
    """
    x = keep(model, stages, "penultimate", x)
    # The dtype of logits: float32 for bfloat16, else the computation's own.
    dtype = jnp.promote_types(model.dtype, jnp.float32)
    logits = nn.Dense(model.num_classes, dtype=dtype, name=name, **keywords)(x)
    logits = logits if scale is None else scale * logits
    return (logits, stages) if features else logits


def check_sizes(model: nn.Module, *keys: str, least: int = 1) -> None:
    """ValueError for a field of a model with a number below `least`."""
    for key in keys:
        value = getattr(model, key)
        if any(size < least for size in (value if isinstance(value, tuple) else (value,))):
            raise ValueError(f"{key}={value!r}: expected whole numbers from {least}")


def check_shares(model: nn.Module, *keys: str) -> None:
    """ValueError for a field of a model that is no share from 0 to below 1."""
    for key in keys:
        if (value := getattr(model, key)) is not None and not 0 <= value < 1:
            raise ValueError(f"{key}={value!r}: expected a share from 0 to below 1")


def choose(registry: Collection[str], key: str, name: str) -> Any:
    """registry[name] of a mapping, or the name itself; a ValueError lists the names there are."""
    if name not in registry:
        raise ValueError(f"{key}={name!r}: expected one of {', '.join(registry)}")
    return registry[name] if isinstance(registry, Mapping) else name
