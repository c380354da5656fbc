"""Inverted residual blocks, of which MobileNets and EfficientNets are made.

One is narrow at both ends and wide between: a 1x1 convolution expands the channels, a depthwise
one looks around each pixel, a 1x1 convolution projects back to few channels, with no activation
after it (Sandler et al. 2018, arXiv:1801.04381).
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.core.models.layers import (
    ACTIVATIONS,
    Output,
    Stages,
    StochasticDepth,
    at_least_float32,
    check_shares,
    check_sizes,
    choose,
    depth_rates,
    keep,
    norm_layer,
)

Activation = Callable[[jax.Array], jax.Array]
ConvNorm = Callable[..., jax.Array]


class Block(NamedTuple):
    """Where one block differs from others.

    hidden: channels between; as many as come in: no expanding convolution.
    width: channels of the output.
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


STEMS = ("cifar", "imagenet")

GATES: dict[str, Activation] = {"sigmoid": nn.sigmoid, "hard_sigmoid": nn.hard_sigmoid}


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
    squeeze_activation: str | None = None
    gate: str = "sigmoid"
    dropout: float = 0.2


def check_positive(**values: float) -> None:
    """ValueError for a keyword that is not above 0."""
    for key, value in values.items():
        if not value > 0:
            raise ValueError(f"{key}={value!r}: expected a number above 0")


def plan_stages(
    table: Iterable[StageSizes], input_width: int, squeeze_share: float = 0.0
) -> tuple[tuple[Block, ...], ...]:
    """The blocks of each stage of a table; `input_width` channels come in.

    squeeze_share: channels that a block's squeeze-and-excitation squeezes to, as a share of those
      that come into the block (Tan & Le 2019, arXiv:1905.11946); 0: it has none.
    """
    stages = []
    for sizes in table:
        stages.append(_plan_stage(sizes, input_width, squeeze_share))
        input_width = sizes.width
    return tuple(stages)


def _plan_stage(sizes: StageSizes, input_width: int, squeeze_share: float) -> tuple[Block, ...]:
    blocks = []
    for position in range(sizes.blocks):
        blocks.append(
            Block(
                hidden=make_divisible(input_width * sizes.expansion),
                width=sizes.width,
                kernel_size=sizes.kernel_size,
                stride=1 if position else sizes.stride,
                squeeze=max(1, int(input_width * squeeze_share)) if squeeze_share else 0,
                fused=sizes.fused,
            )
        )
        input_width = sizes.width
    return tuple(blocks)


class InvertedResidualNet(nn.Module):
    """A net of inverted residual blocks; its families say in `plan` which.

    Stages are named as in torchvision: "stem", "stage1" to "stageN" of blocks, and as the next the
    last convolution.

    num_classes: K, the number of logits.
    stem: "imagenet" (the image is halved five times) or "cifar" (three times, for images of about
      32 pixels: the first two strides of 2 are 1).
    activation, norm: as in `CNN`.
    norm_epsilon: of batch norm.
    dropout: share of values set to 0 before the logits; None for the paper's.
    stochastic_depth: chance of the last block to be left out in training; earlier ones are left out
      less (see `depth_rates`).
    zero_init: start each block as its shortcut (Goyal et al. 2017, arXiv:1706.02677).
    dtype: of the computation; parameters and logits are float32.
    axis_name: see `norm_layer`.
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
    def __call__(self, image: jax.Array, *, train: bool, features: bool = False) -> Output:
        plan = self.plan()
        dropout = plan.dropout if self.dropout is None else self.dropout
        self._check(dropout)
        activation = choose(ACTIVATIONS, "activation", self.activation)
        convolve = self._conv_norm(train)

        stages = Stages()
        x = image.astype(self.dtype)
        x = activation(convolve(x, "stem", plan.stem_width, 3, 2 if self.stem == "imagenet" else 1))
        x = keep(self, stages, "stem", x)
        x = self._blocks(x, stages, plan, convolve, train)
        x = activation(convolve(x, "last", plan.last_width))
        x = keep(self, stages, f"stage{len(plan.stages) + 1}", x)
        x = x.mean((1, 2))
        if plan.dense_width:
            x = activation(nn.Dense(plan.dense_width, dtype=self.dtype, name="dense")(x))
        x = nn.Dropout(dropout, name="dropout")(x, deterministic=not train)
        x = keep(self, stages, "penultimate", x)
        dtype = at_least_float32(self.dtype)
        logits = nn.Dense(self.num_classes, dtype=dtype, name="head")(x)
        return (logits, stages) if features else logits

    def _check(self, dropout: float) -> None:
        if self.stem not in STEMS:
            raise ValueError(f"stem={self.stem!r}: expected one of {', '.join(STEMS)}")
        check_sizes(num_classes=self.num_classes)
        check_shares(dropout=dropout, stochastic_depth=self.stochastic_depth)
        check_positive(norm_epsilon=self.norm_epsilon)

    def _conv_norm(self, train: bool) -> ConvNorm:
        norm = norm_layer(self.norm, train=train, dtype=self.dtype, axis_name=self.axis_name)
        if self.norm == "batch":
            norm = partial(norm, epsilon=self.norm_epsilon)
        return partial(conv_norm, norm=norm, use_bias=self.norm == "none", dtype=self.dtype)

    def _blocks(
        self, x: jax.Array, stages: Stages, plan: Plan, convolve: ConvNorm, train: bool
    ) -> jax.Array:
        rates = iter(depth_rates(self.stochastic_depth, sum(map(len, plan.stages))))
        full_size = self.stem == "cifar"  # until the first stride among the blocks
        zeros_or_ones = nn.initializers.zeros if self.zero_init else nn.initializers.ones
        for number, blocks in enumerate(plan.stages, start=1):
            for position, block in enumerate(blocks):
                if full_size and block.stride > 1:
                    block, full_size = block._replace(stride=1), False
                name = block.activation or self.activation
                squeeze_excite = partial(
                    SqueezeExcite,
                    activation=ACTIVATIONS[plan.squeeze_activation or name],
                    gate=GATES[plan.gate],
                    dtype=self.dtype,
                )
                x = InvertedResidual(
                    block,
                    convolve,
                    ACTIVATIONS[name],
                    squeeze_excite,
                    drop_rate=next(rates),
                    last_scale_init=zeros_or_ones,
                    name=f"stage{number}_block{position}",
                )(x, train=train)
            x = keep(self, stages, f"stage{number}", x)
        return x
