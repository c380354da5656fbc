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

from jaxcnn.core.models import layers

STEMS = ("cifar", "imagenet", "deep")
SHORTCUTS = ("conv", "pool", "pad")

# The width of the first stage for which `group_width` holds.
_USUAL_WIDTH = 64


class ResidualBlock(nn.Module):
    """Convolutions beside a shortcut; [B, H, W, C] -> [B, H/stride, W/stride, expansion * width].

    expansion: 1: two 3x3 convolutions; 4: a bottleneck of 1x1, 3x3 and 1x1 convolutions.
    conv, norm: constructors of layers; last_norm: of the last norm, None for `norm`.
    drop: a function that may leave the convolutions' output out. The others: see `ResNet`.
    """

    width: int
    stride: int
    conv: layers.Layer
    norm: layers.Layer
    activation: layers.Activation
    last_norm: layers.Layer | None = None
    drop: layers.Activation = lambda x: x
    shortcut: str = "conv"
    se_ratio: float = 0.0
    groups: int = 1
    group_width: int = _USUAL_WIDTH
    expansion: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width, last_norm = self.expansion * self.width, self.last_norm or self.norm
        if self.expansion > 1:
            inner = self.width * self.group_width // _USUAL_WIDTH * self.groups
            grouped = partial(self.conv, feature_group_count=self.groups)
            y = self.conv(inner, (1, 1), name="conv1")(x)
            y = self.activation(self.norm(name="norm1")(y))
            y = grouped(inner, (3, 3), strides=self.stride, name="conv2")(y)
            y = self.activation(self.norm(name="norm2")(y))
            y = last_norm(name="norm3")(self.conv(width, (1, 1), name="conv3")(y))
        elif (self.groups, self.group_width) != (1, _USUAL_WIDTH):
            raise ValueError(
                f"groups={self.groups}, group_width={self.group_width}: only bottlenecks have "
                "groups; use a resnet of 50 layers or more"
            )
        else:
            y = self.conv(width, (3, 3), strides=self.stride, name="conv1")(x)
            y = self.activation(self.norm(name="norm1")(y))
            y = last_norm(name="norm2")(self.conv(width, (3, 3), name="conv2")(y))
        if self.se_ratio:
            conv = partial(self.conv, use_bias=True)
            squeeze, names = max(1, int(width * self.se_ratio)), ("reduce", "expand")
            y = layers.SqueezeExcite(squeeze, conv, names=names, name="se")(y)
        return self.activation(self.drop(y) + self._shortcut(x, width))

    def _shortcut(self, x: jax.Array, width: int) -> jax.Array:
        stride, name = self.stride, "shortcut_conv"
        if stride == 1 and x.shape[-1] == width:
            return x
        if self.shortcut == "pad":
            added = width - x.shape[-1]
            x = x[:, ::stride, ::stride]
            return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (added // 2, added - added // 2)))
        if self.shortcut == "pool":
            name = "pooled_shortcut_conv"
            if stride > 1:
                # An odd side's last row is averaged alone: as many pixels as the branch has.
                padding = [(0, side % stride) for side in x.shape[1:3]]
                window = (stride, stride)
                x = nn.avg_pool(x, window, window, padding, count_include_pad=False)
            stride = 1
        x = self.conv(width, (1, 1), strides=stride, name=name)(x)
        return self.norm(name="shortcut_norm")(x)


BasicBlock = ResidualBlock
BottleneckBlock = partial(ResidualBlock, expansion=4)


class ResNet(nn.Module):
    """A residual network: stem, stages of blocks, global average, logits.

    stage_sizes: blocks in each stage; every stage but the first halves the image.
    block: `BasicBlock` or `BottleneckBlock`.
    width: channels of the first stage's 3x3 convolutions; each stage doubles it.
    stem: "imagenet" (7x7 stride 2, then 3x3 max-pooling stride 2), "deep" (three 3x3, the first of
      stride 2 and the first two of half the width, then the same pooling) or "cifar" (3x3, stride
      1).
    shortcut: where a block changes size or width, "conv" (1x1 convolution with its stride, option B
      of the paper), "pool" (averages, then a 1x1 convolution) or "pad" (every stride-th pixel, and
      channels of zeros: option A).
    zero_init: the last norm of a block starts at 0, so that a block starts as its shortcut (Goyal
      et al. 2017, arXiv:1706.02677).
    groups: of the bottlenecks' 3x3 convolutions.
    group_width: channels of each group in the first stage, where `width` is 64.
    se_ratio: share of channels between the convolutions of squeeze-and-excitation; 0: without it.

    Other keywords: `jaxcnn.core.models`.
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
    def __call__(self, image: jax.Array, *, train: bool, features: bool = False) -> layers.Output:
        self._check()
        conv = layers.conv_layer(self)
        norm = layers.norm_layer(self.norm, train=train, dtype=self.dtype, axis_name=self.axis_name)
        zero_norm = partial(norm, scale_init=nn.initializers.zeros)
        rates = iter(layers.depth_rates(self.stochastic_depth, sum(self.stage_sizes)))
        stages = layers.Stages()
        x = layers.keep(self, stages, "stem", self._stem(conv, norm, image.astype(self.dtype)))
        if self.stem != "cifar":
            x = layers.max_pool(x, window_shape=(3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for stage, num_blocks in enumerate(self.stage_sizes):
            for position in range(num_blocks):
                x = self.block(
                    width=self.width * 2**stage,
                    stride=2 if stage > 0 and position == 0 else 1,
                    conv=conv,
                    norm=norm,
                    activation=layers.ACTIVATIONS[self.activation],
                    last_norm=zero_norm if self.zero_init else norm,
                    drop=partial(_drop, rate=next(rates), train=train),
                    shortcut=self.shortcut,
                    se_ratio=self.se_ratio,
                    groups=self.groups,
                    group_width=self.group_width,
                    name=f"stage{stage + 1}_block{position}",
                )(x)
            x = layers.keep(self, stages, f"stage{stage + 1}", x)
        x = layers.dropout(x.mean((1, 2)), self.dropout, train)
        return layers.classify(self, stages, x, features)

    def _check(self) -> None:
        layers.choose(STEMS, "stem", self.stem)
        layers.choose(SHORTCUTS, "shortcut", self.shortcut)
        layers.choose(layers.ACTIVATIONS, "activation", self.activation)
        layers.check_sizes(self, "stage_sizes", "width", "groups", "group_width")
        layers.check_shares(self, "se_ratio", "stochastic_depth", "dropout")

    def _stem(self, conv: layers.Layer, norm: layers.Layer, x: jax.Array) -> jax.Array:
        activation = layers.ACTIVATIONS[self.activation]
        kernel_size, stride = {"imagenet": (7, 2)}.get(self.stem, (3, 1))
        if self.stem == "deep":
            for number in (1, 2):
                half = max(1, self.width // 2)
                x = conv(half, (3, 3), strides=3 - number, name=f"stem_conv{number}")(x)
                x = activation(norm(name=f"stem_norm{number}")(x))
        x = conv(self.width, (kernel_size,) * 2, strides=stride, name="stem_conv")(x)
        return activation(norm(name="stem_norm")(x))


class CifarResNet(ResNet):
    """The nets of 6n + 2 layers for 32x32 pixels of He et al. 2016 (section 4.2), with the keywords
    of `ResNet`: three stages of n basic blocks, of 16, 32 and 64 channels, and shortcuts without
    parameters. With many layers `zero_init` helps, which the paper does not have.
    """

    width: int = 16
    shortcut: str = "pad"
    zero_init: bool = False


def _drop(x: jax.Array, *, rate: float, train: bool) -> jax.Array:
    return layers.StochasticDepth(rate, name="drop")(x, train=train)
