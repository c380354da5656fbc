"""Inverted residual blocks, of which MobileNets and EfficientNets are made.

One is narrow at both ends and wide between: a 1x1 convolution expands the channels, a depthwise
one looks around each pixel, a 1x1 convolution projects back to few channels, with no activation
after it (Sandler et al. 2018, arXiv:1801.04381).
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax

from jaxcnn.core.models.layers import StochasticDepth

Activation = Callable[[jax.Array], jax.Array]
ConvNorm = Callable[..., jax.Array]


class Block(NamedTuple):
    """Where one block differs from others.

    hidden: channels between; as many as come in: no expanding convolution.
    width: channels given.
    kernel_size, stride: of the depthwise convolution, in pixels.
    squeeze: channels its squeeze-and-excitation squeezes to; 0: it has none.
    activation: None for the net's own.
    fused: one full convolution in place of the expanding and the depthwise one.
    """

    hidden: int
    width: int
    kernel_size: int = 3
    stride: int = 1
    squeeze: int = 0
    activation: str | None = None
    fused: bool = False


def make_divisible(width: float, divisor: int = 8) -> int:
    """The multiple of `divisor` next to `width`, at least one, and never over 10% below it."""
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded


def conv_norm(
    x: jax.Array,
    name: str,
    width: int,
    kernel_size: int = 1,
    stride: int = 1,
    *,
    norm: Callable[..., Any],
    use_bias: bool,
    dtype: Any,
    depthwise: bool = False,
    scale_init: Callable = nn.initializers.ones,
) -> jax.Array:
    """A convolution `<name>_conv` and its norm `<name>_norm` in the calling module.

    It pads evenly, as PyTorch does: "SAME" shifts strided convolutions of even sizes by half a
    pixel, and published weights would no longer fit.
    """
    # What one output channel of a depthwise convolution sees is one channel; counted over all
    # groups, as PyTorch counts, its kernel would start far too small.
    mode: Literal["fan_in", "fan_out"] = "fan_in" if depthwise else "fan_out"
    conv = nn.Conv(
        width,
        (kernel_size, kernel_size),
        strides=stride,
        padding=kernel_size // 2,
        feature_group_count=width if depthwise else 1,
        use_bias=use_bias,
        kernel_init=nn.initializers.variance_scaling(2.0, mode, "normal"),
        dtype=dtype,
        name=f"{name}_conv",
    )
    return norm(name=f"{name}_norm", scale_init=scale_init)(conv(x))


class SqueezeExcite(nn.Module):
    """Weighs each channel by what is in the whole image (Hu et al. 2018, arXiv:1709.01507).

    squeeze: channels between the two 1x1 convolutions.
    """

    squeeze: int
    activation: Activation
    gate: Activation
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        conv = partial(nn.Conv, kernel_size=(1, 1), dtype=self.dtype)
        weight = x.mean((1, 2), keepdims=True)
        weight = self.activation(conv(self.squeeze, name="squeeze")(weight))
        return x * self.gate(conv(x.shape[-1], name="excite")(weight))


class InvertedResidual(nn.Module):
    """[B, H, W, C] -> [B, H/stride, W/stride, width]; beside a shortcut where the size stays.

    drop_rate: of stochastic depth.
    last_scale_init: of the scale of the last norm beside a shortcut.
    """

    block: Block
    conv_norm: ConvNorm
    activation: Activation
    squeeze_excite: Callable[..., nn.Module]
    drop_rate: float
    last_scale_init: Callable

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        block = self.block
        with_shortcut = block.stride == 1 and block.width == x.shape[-1]
        scale_init = self.last_scale_init if with_shortcut else nn.initializers.ones
        if block.fused and block.hidden == x.shape[-1]:
            y = self._only(x, scale_init)
        else:
            y = self._fused(x) if block.fused else self._expanded(x)
            if block.squeeze:
                y = self.squeeze_excite(block.squeeze, name="squeeze_excite")(y)
            y = self.conv_norm(y, "project", block.width, scale_init=scale_init)
        if not with_shortcut:
            return y
        return x + StochasticDepth(self.drop_rate, name="stochastic_depth")(y, train=train)

    def _expanded(self, x: jax.Array) -> jax.Array:
        hidden, _, kernel_size, stride, *_ = self.block
        if hidden != x.shape[-1]:
            x = self.activation(self.conv_norm(x, "expand", hidden))
        x = self.conv_norm(x, "depthwise", hidden, kernel_size, stride, depthwise=True)
        return self.activation(x)

    def _fused(self, x: jax.Array) -> jax.Array:
        hidden, _, kernel_size, stride, *_ = self.block
        return self.activation(self.conv_norm(x, "fused", hidden, kernel_size, stride))

    def _only(self, x: jax.Array, scale_init: Callable) -> jax.Array:
        """A fused block that does not expand is one convolution (Tan & Le 2021, table 4)."""
        _, width, kernel_size, stride, *_ = self.block
        x = self.conv_norm(x, "fused", width, kernel_size, stride, scale_init=scale_init)
        return self.activation(x)
