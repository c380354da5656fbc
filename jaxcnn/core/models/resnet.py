"""Residual networks (He et al. 2016, arXiv:1512.03385); bottlenecks stride on the 3x3 (v1.5).

By keyword also ResNet-D (He et al. 2019, arXiv:1812.01187: `stem="deep"`, `shortcut="pool"`),
ResNeXt (Xie et al. 2017, arXiv:1611.05431: `groups`, `group_width`), the wide bottlenecks of
Zagoruyko & Komodakis 2016, arXiv:1605.07146 (`group_width=128`), and squeeze-and-excitation (Hu et
al. 2018, arXiv:1709.01507: `se_ratio=1 / 16`).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

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
    max_pool,
    norm_layer,
    padded_conv,
)

Layer = Callable[..., Any]

STEMS = ("cifar", "imagenet", "deep")
SHORTCUTS = ("conv", "pool", "pad")

# The width of the first stage for which `group_width` holds.
_USUAL_WIDTH = 64


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; [B, H, W, C] -> [B, H/stride, W/stride, width].

    conv, norm: constructors of layers; last_norm: of the norm the branch ends with, None for the
    same. se_ratio, shortcut: see `ResNet`. drop: what may leave the branch out.
    """

    width: int
    stride: int
    conv: Layer
    norm: Layer
    activation: Callable[[jax.Array], jax.Array]
    last_norm: Layer | None = None
    drop: Callable[[jax.Array], jax.Array] = lambda x: x
    shortcut: str = "conv"
    se_ratio: float = 0.0
    groups: int = 1
    group_width: int = _USUAL_WIDTH

    expansion = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if (self.groups, self.group_width) != (1, _USUAL_WIDTH):
            raise ValueError(
                f"groups={self.groups}, group_width={self.group_width}: only bottlenecks have "
                "groups; use a resnet of 50 layers or more"
            )
        y = self.conv(self.width, (3, 3), strides=self.stride, name="conv1")(x)
        y = self.activation(self.norm(name="norm1")(y))
        y = self.conv(self.width, (3, 3), name="conv2")(y)
        y = (self.last_norm or self.norm)(name="norm2")(y)
        return _joined(self, x, y)


class BottleneckBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; gives 4 * width channels.

    groups, group_width: see `ResNet`; the rest as in `BasicBlock`.
    """

    width: int
    stride: int
    conv: Layer
    norm: Layer
    activation: Callable[[jax.Array], jax.Array]
    last_norm: Layer | None = None
    drop: Callable[[jax.Array], jax.Array] = lambda x: x
    shortcut: str = "conv"
    se_ratio: float = 0.0
    groups: int = 1
    group_width: int = _USUAL_WIDTH

    expansion = 4

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        inner = self.width * self.group_width // _USUAL_WIDTH * self.groups
        grouped = partial(self.conv, feature_group_count=self.groups)
        y = self.conv(inner, (1, 1), name="conv1")(x)
        y = self.activation(self.norm(name="norm1")(y))
        y = grouped(inner, (3, 3), strides=self.stride, name="conv2")(y)
        y = self.activation(self.norm(name="norm2")(y))
        y = self.conv(self.width * self.expansion, (1, 1), name="conv3")(y)
        y = (self.last_norm or self.norm)(name="norm3")(y)
        return _joined(self, x, y)


def _joined(block: BasicBlock | BottleneckBlock, x: jax.Array, y: jax.Array) -> jax.Array:
    """The branch y, weighted by channel and perhaps left out, added to the shortcut of x."""
    if block.se_ratio:
        y = SqueezeExcite(block.se_ratio, block.conv, name="se")(y)
    return block.activation(block.drop(y) + _shortcut(block, x))


def _shortcut(block: BasicBlock | BottleneckBlock, x: jax.Array) -> jax.Array:
    """X itself, or what `block.shortcut` makes of it where the block changes size or width."""
    width = block.width * block.expansion
    if block.stride == 1 and x.shape[-1] == width:
        return x
    if block.shortcut == "pad":
        added = width - x.shape[-1]
        x = x[:, :: block.stride, :: block.stride]
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (added // 2, added - added // 2)))
    stride, name = block.stride, "shortcut_conv"
    if block.shortcut == "pool":
        name = "pooled_shortcut_conv"
        if stride > 1:
            # An odd side's last row is averaged alone: as many pixels as the branch has.
            padding = [(0, side % stride) for side in x.shape[1:3]]
            window = (stride, stride)
            x = nn.avg_pool(
                x, window_shape=window, strides=window, padding=padding, count_include_pad=False
            )
        stride = 1
    x = block.conv(width, (1, 1), strides=stride, name=name)(x)
    return block.norm(name="shortcut_norm")(x)


class SqueezeExcite(nn.Module):
    """Weighs channels by what the whole image shows (Hu et al. 2018, arXiv:1709.01507).

    ratio: share of the channels between the two 1x1 convolutions; conv: constructor of those.
    """

    ratio: float
    conv: Layer

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        channels = x.shape[-1]
        squeezed = max(1, int(channels * self.ratio))
        y = x.mean((1, 2), keepdims=True)
        y = nn.relu(self.conv(squeezed, (1, 1), use_bias=True, name="reduce")(y))
        return x * nn.sigmoid(self.conv(channels, (1, 1), use_bias=True, name="expand")(y))


class ResNet(nn.Module):
    """A residual network: stem, stages of blocks, global average, logits.

    num_classes: K, the number of logits.
    stage_sizes: blocks in each stage; every stage but the first halves the image.
    block: `BasicBlock` or `BottleneckBlock`.
    width: channels of the first stage's 3x3 convolutions; each stage doubles it.
    stem: "imagenet" (7x7 stride 2, then 3x3 max-pooling stride 2), "deep" (three 3x3, the first of
      stride 2 and the first two of half the width, then the same pooling) or "cifar" (3x3, stride
      1).
    shortcut: where a block changes size or width, "conv" (1x1 convolution with its stride, option B
      of the paper), "pool" (averages, then a 1x1 convolution) or "pad" (every stride-th pixel, and
      channels of zeros: option A).
    activation, norm: as in `CNN`.
    zero_init: the last norm of a block starts at 0, so that a block starts as its shortcut (Goyal
      et al. 2017, arXiv:1706.02677).
    groups: of the bottlenecks' 3x3 convolutions.
    group_width: channels of each group in the first stage, where `width` is 64.
    se_ratio: share of channels between the convolutions of squeeze-and-excitation; 0: without it.
    stochastic_depth: chance of the last block to be left out; see `depth_rates`.
    dropout: share of values set to 0 before the logits.
    dtype: of the computation; parameters and logits are float32.
    axis_name: see `norm_layer`.
    """

    num_classes: int
    stage_sizes: tuple[int, ...]
    block: Callable[..., nn.Module]
    width: int = 64
    stem: str = "imagenet"
    shortcut: str = "conv"
    activation: str = "relu"
    norm: str = "batch"
    zero_init: bool = True
    groups: int = 1
    group_width: int = _USUAL_WIDTH
    se_ratio: float = 0.0
    stochastic_depth: float = 0.0
    dropout: float = 0.0
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool, features: bool = False) -> Output:
        self._check()
        conv, norm, last_norm = self._layers(train)
        rates = iter(depth_rates(self.stochastic_depth, sum(self.stage_sizes)))
        stages = Stages()
        x = keep(self, stages, "stem", self._stem(conv, norm, image.astype(self.dtype)))
        if self.stem != "cifar":
            x = max_pool(x, window_shape=(3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for stage, num_blocks in enumerate(self.stage_sizes):
            for position in range(num_blocks):
                x = self.block(
                    width=self.width * 2**stage,
                    stride=2 if stage > 0 and position == 0 else 1,
                    conv=conv,
                    norm=norm,
                    activation=ACTIVATIONS[self.activation],
                    last_norm=last_norm,
                    drop=partial(_drop, rate=next(rates), train=train),
                    shortcut=self.shortcut,
                    se_ratio=self.se_ratio,
                    groups=self.groups,
                    group_width=self.group_width,
                    name=f"stage{stage + 1}_block{position}",
                )(x)
            x = keep(self, stages, f"stage{stage + 1}", x)
        x = x.mean((1, 2))
        if self.dropout:
            x = nn.Dropout(self.dropout)(x, deterministic=not train)
        x = keep(self, stages, "penultimate", x)
        head = nn.Dense(self.num_classes, dtype=at_least_float32(self.dtype), name="head")
        return (head(x), stages) if features else head(x)

    def _check(self) -> None:
        for key, known in (("stem", STEMS), ("shortcut", SHORTCUTS)):
            choose(dict.fromkeys(known), key, getattr(self, key))
        choose(ACTIVATIONS, "activation", self.activation)
        sizes = {key: getattr(self, key) for key in ("width", "groups", "group_width")}
        check_sizes(stage_sizes=self.stage_sizes, **sizes)
        shares = ("se_ratio", "stochastic_depth", "dropout")
        check_shares(**{key: getattr(self, key) for key in shares})

    def _layers(self, train: bool) -> tuple[Layer, Layer, Layer]:
        """Constructors of convolutions, of norms, and of the norm a block's branch ends with."""
        conv = partial(
            padded_conv,
            kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
            use_bias=self.norm == "none",
            dtype=self.dtype,
        )
        norm = norm_layer(self.norm, train=train, dtype=self.dtype, axis_name=self.axis_name)
        zero = partial(norm, scale_init=nn.initializers.zeros)
        return conv, norm, zero if self.zero_init else norm

    def _stem(self, conv: Layer, norm: Layer, x: jax.Array) -> jax.Array:
        activation = ACTIVATIONS[self.activation]
        kernel_size, stride = {"imagenet": (7, 2)}.get(self.stem, (3, 1))
        if self.stem == "deep":
            for number in (1, 2):
                half = max(1, self.width // 2)
                x = conv(half, (3, 3), strides=3 - number, name=f"stem_conv{number}")(x)
                x = activation(norm(name=f"stem_norm{number}")(x))
        x = conv(self.width, (kernel_size,) * 2, strides=stride, name="stem_conv")(x)
        return activation(norm(name="stem_norm")(x))


def _drop(x: jax.Array, *, rate: float, train: bool) -> jax.Array:
    return StochasticDepth(rate, name="drop")(x, train=train)
