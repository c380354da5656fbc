"""What the model families share: activations, norms, pooling, by name; the outputs of stages."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

ACTIVATIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
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

NORMS = ("batch", "group", "layer", "none")


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
) -> Callable[..., Callable[[jax.Array], jax.Array]]:
    """Returns a constructor of norm layers; its keywords go to the linen module (`scale_init`).

    name: "batch", "group" (at most 32 groups, of at least 4 channels where there are as many),
      "layer" or "none".
    axis_name: the mapped axis to average batch statistics over; None under `jit`, where the
      statistics are those of the whole batch already.
    """
    if name == "batch":
        return partial(
            nn.BatchNorm,
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,
            dtype=dtype,
            axis_name=axis_name,
        )
    if name == "group":
        return partial(_GroupNorm, dtype=dtype)
    if name == "layer":
        return partial(nn.LayerNorm, dtype=dtype)
    if name == "none":
        return lambda **_: lambda x: x
    raise ValueError(f"norm={name!r}: expected one of {', '.join(NORMS)}")


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
    """A convolution with half its kernel's size in zeros on every side, as PyTorch's are written.

    "SAME" shifts strided convolutions of even sizes by half a pixel, and published weights would no
    longer fit.
    """
    padding = [(size // 2, size // 2) for size in kernel_size]
    return nn.Conv(features, kernel_size, padding=padding, **keywords)


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
    """A rate for each of so many blocks, from 0 for the first in equal steps to `last`."""
    return [last * block / max(1, blocks - 1) for block in range(blocks)]


def at_least_float32(dtype: Any) -> Any:
    """The dtype of logits: float32 for bfloat16, else the computation's own."""
    return jnp.promote_types(dtype, jnp.float32)


def check_sizes(**values: int | tuple[int, ...]) -> None:
    """ValueError for a keyword with a number below 1."""
    for key, value in values.items():
        if any(size < 1 for size in (value if isinstance(value, tuple) else (value,))):
            raise ValueError(f"{key}={value!r}: expected whole numbers from 1")


def check_shares(**values: float) -> None:
    """ValueError for a keyword that is no share from 0 to below 1."""
    for key, value in values.items():
        if not 0 <= value < 1:
            raise ValueError(f"{key}={value!r}: expected a share from 0 to below 1")


def choose(registry: dict[str, Any], key: str, name: str) -> Any:
    """registry[name], or a ValueError that lists what there is."""
    if name not in registry:
        raise ValueError(f"{key}={name!r}: expected one of {', '.join(registry)}")
    return registry[name]
