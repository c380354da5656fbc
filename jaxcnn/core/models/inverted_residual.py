"""Inverted residual blocks, of which MobileNets and EfficientNets are made.

A 1x1 convolution expands the channels, a depthwise one looks around each pixel, and a 1x1
convolution projects back to few channels, without activation (Sandler et al. 2018,
arXiv:1801.04381).
"""

import math
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.core.models import layers

ConvNorm = Callable[..., jax.Array]


class Block(NamedTuple):
    """The sizes of one block.

    hidden: channels in the middle; if as many as come in, there is no expanding convolution.
    width: channels of the output.
    kernel_size, stride: of the depthwise convolution, in pixels.
    squeeze: channels of its squeeze-and-excitation; 0: it has none.
    activation: a name; None for the net's.
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
    norm: layers.Layer,
    use_bias: bool,
    dtype: Any,
    depthwise: bool = False,
    scale_init: Callable = nn.initializers.ones,
) -> jax.Array:
    """A convolution `<name>_conv` and its norm `<name>_norm` in the calling module."""
    # An output of a depthwise convolution sees one channel. PyTorch's fan_out counts all groups,
    # and the kernel would start far too small.
    mode: Literal["fan_in", "fan_out"] = "fan_in" if depthwise else "fan_out"
    conv = layers.padded_conv(
        width,
        (kernel_size, kernel_size),
        strides=stride,
        feature_group_count=width if depthwise else 1,
        use_bias=use_bias,
        kernel_init=nn.initializers.variance_scaling(2.0, mode, "normal"),
        dtype=dtype,
        name=f"{name}_conv",
    )
    return norm(name=f"{name}_norm", scale_init=scale_init)(conv(x))


class InvertedResidual(nn.Module):
    """[B, H, W, C] -> [B, H/stride, W/stride, width]; beside a shortcut where the size stays.

    drop_rate: of stochastic depth.
    last_scale_init: of the scale of the last norm beside a shortcut.
    """

    block: Block
    conv_norm: ConvNorm
    activation: layers.Activation
    squeeze_excite: layers.Layer
    drop_rate: float
    last_scale_init: Callable

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        hidden, width, kernel_size, stride, squeeze, _, fused = self.block
        expands, with_shortcut = hidden != x.shape[-1], stride == 1 and width == x.shape[-1]
        last = {"scale_init": self.last_scale_init if with_shortcut else nn.initializers.ones}
        if fused and not expands:  # one convolution (Tan & Le 2021, table 4)
            y = self.activation(self.conv_norm(x, "fused", width, kernel_size, stride, **last))
        else:
            if fused:
                y = self.conv_norm(x, "fused", hidden, kernel_size, stride)
            else:
                y = self.activation(self.conv_norm(x, "expand", hidden)) if expands else x
                y = self.conv_norm(y, "depthwise", hidden, kernel_size, stride, depthwise=True)
            y = self.activation(y)
            if squeeze:
                y = self.squeeze_excite(squeeze, name="squeeze_excite")(y)
            y = self.conv_norm(y, "project", width, **last)
        if not with_shortcut:
            return y
        return x + layers.StochasticDepth(self.drop_rate, name="stochastic_depth")(y, train=train)


class StageSizes(NamedTuple):
    """A stage as the papers' tables give it: the first block has its stride, the others 1."""

    expansion: int
    width: int
    blocks: int
    stride: int
    kernel_size: int = 3
    fused: bool = False


class Plan(NamedTuple):
    """The sizes of a whole net.

    stem_width, last_width: channels of the first and the last convolution.
    dense_width: of the dense layer before the logits; 0: there is none.
    squeeze_activation, gate: of squeeze-and-excitation; the former None for the block's own.
    dropout: the paper's.
    """

    stem_width: int
    stages: tuple[tuple[Block, ...], ...]
    last_width: int
    dense_width: int = 0
    squeeze_activation: layers.Activation | None = None
    gate: layers.Activation = nn.sigmoid
    dropout: float = 0.2


def check_positive(**values: float) -> None:
    """ValueError for a keyword that is not above 0."""
    for key, value in values.items():
        if not value > 0:
            raise ValueError(f"{key}={value!r}: expected a number above 0")


def plan_stages(
    table: Iterable[StageSizes],
    input_width: int,
    squeeze_share: float = 0.0,
    width: float = 1.0,
    depth: float = 1.0,
) -> tuple[tuple[Block, ...], ...]:
    """The blocks of each stage of a table, for an input of `input_width` channels.

    squeeze_share: channels of a block's squeeze-and-excitation as a share of those that come into
      the block (Tan & Le 2019, arXiv:1905.11946); 0: it has none.
    width, depth: factors of the table's widths and numbers of blocks.
    """
    stages = []
    for sizes in table:
        blocks, output_width = [], make_divisible(sizes.width * width)
        for position in range(math.ceil(sizes.blocks * depth)):
            block = Block(
                hidden=make_divisible(input_width * sizes.expansion),
                width=output_width,
                kernel_size=sizes.kernel_size,
                stride=1 if position else sizes.stride,
                squeeze=max(1, int(input_width * squeeze_share)) if squeeze_share else 0,
                fused=sizes.fused,
            )
            blocks.append(block)
            input_width = output_width
        stages.append(tuple(blocks))
    return tuple(stages)


class InvertedResidualNet(nn.Module):
    """A net of inverted residual blocks; its families say in `plan` which.

    Stages are named as in torchvision: "stem", "stage1" to "stageN" of blocks, and as the next the
    last convolution.

    stem: "imagenet" (the image is halved five times) or "cifar" (three times, for images of about
      32 pixels: the first two strides of 2 are 1).
    norm_epsilon: of batch norm.
    dropout: share of values set to 0 before the logits; None for the paper's.
    zero_init: start each block as its shortcut (Goyal et al. 2017, arXiv:1706.02677).

    Other keywords: `jaxcnn.core.models`.
    """

    num_classes: int
    stem: str = "imagenet"
    activation: str = "relu6"
    norm: str = "batch"
    norm_epsilon: float = 1e-5
    dropout: float | None = None
    stochastic_depth: float = 0.0
    zero_init: bool = False
    dtype: Any = jnp.float32
    axis_name: str | None = None

    def plan(self) -> Plan:
        raise NotImplementedError

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool, features: bool = False) -> layers.Output:
        plan = self.plan()
        layers.choose(("cifar", "imagenet"), "stem", self.stem)
        layers.check_sizes(self, "num_classes")
        layers.check_shares(self, "dropout", "stochastic_depth")
        check_positive(norm_epsilon=self.norm_epsilon)
        activation = layers.choose(layers.ACTIVATIONS, "activation", self.activation)
        norm = layers.norm_layer(self.norm, train=train, dtype=self.dtype, axis_name=self.axis_name)
        if self.norm == "batch":
            norm = partial(norm, epsilon=self.norm_epsilon)
        convolve = partial(conv_norm, norm=norm, use_bias=self.norm == "none", dtype=self.dtype)

        stages = layers.Stages()
        x = image.astype(self.dtype)
        x = activation(convolve(x, "stem", plan.stem_width, 3, 2 if self.stem == "imagenet" else 1))
        x = layers.keep(self, stages, "stem", x)
        x = self._blocks(x, stages, plan, convolve, train)
        x = activation(convolve(x, "last", plan.last_width))
        x = layers.keep(self, stages, f"stage{len(plan.stages) + 1}", x)
        x = x.mean((1, 2))
        if plan.dense_width:
            x = activation(nn.Dense(plan.dense_width, dtype=self.dtype, name="dense")(x))
        rate = plan.dropout if self.dropout is None else self.dropout
        x = layers.dropout(x, rate, train, name="dropout")
        return layers.classify(self, stages, x, features)

    def _blocks(
        self, x: jax.Array, stages: layers.Stages, plan: Plan, convolve: ConvNorm, train: bool
    ) -> jax.Array:
        rates = iter(layers.depth_rates(self.stochastic_depth, sum(map(len, plan.stages))))
        zeros_or_ones = nn.initializers.zeros if self.zero_init else nn.initializers.ones
        full_size = self.stem == "cifar"  # until the first stride among the blocks
        for number, blocks in enumerate(plan.stages, start=1):
            for position, block in enumerate(blocks):
                if full_size and block.stride > 1:
                    block, full_size = block._replace(stride=1), False
                activation = layers.ACTIVATIONS[block.activation or self.activation]
                squeeze_excite = partial(
                    layers.SqueezeExcite,
                    conv=partial(nn.Conv, dtype=self.dtype),
                    activation=plan.squeeze_activation or activation,
                    gate=plan.gate,
                )
                x = InvertedResidual(
                    block,
                    convolve,
                    activation,
                    squeeze_excite,
                    drop_rate=next(rates),
                    last_scale_init=zeros_or_ones,
                    name=f"stage{number}_block{position}",
                )(x, train=train)
            x = layers.keep(self, stages, f"stage{number}", x)
        return x
