"""Residual networks (He et al. 2016, arXiv:1512.03385); bottlenecks stride on the 3x3 (v1.5)."""

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
    at_least_float32,
    check_shares,
    check_sizes,
    choose,
    keep,
    norm_layer,
)

Layer = Callable[..., Any]

STEMS = ("cifar", "imagenet")


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; [B, H, W, C] -> [B, H/stride, W/stride, width]."""

    width: int
    stride: int
    conv: Layer
    norm: Layer
    activation: Callable[[jax.Array], jax.Array]

    expansion = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.conv(self.width, (3, 3), strides=self.stride)(x)
        y = self.activation(self.norm()(y))
        y = self.conv(self.width, (3, 3))(y)
        y = self.norm(scale_init=nn.initializers.zeros)(y)
        return self.activation(y + _shortcut(self, x))


class BottleneckBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut; gives 4 * width channels."""

    width: int
    stride: int
    conv: Layer
    norm: Layer
    activation: Callable[[jax.Array], jax.Array]

    expansion = 4

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = self.conv(self.width, (1, 1))(x)
        y = self.activation(self.norm()(y))
        y = self.conv(self.width, (3, 3), strides=self.stride)(y)
        y = self.activation(self.norm()(y))
        y = self.conv(self.width * self.expansion, (1, 1))(y)
        y = self.norm(scale_init=nn.initializers.zeros)(y)
        return self.activation(y + _shortcut(self, x))


def _shortcut(block: BasicBlock | BottleneckBlock, x: jax.Array) -> jax.Array:
    """X itself, or its projection where the block changes size or width (option B)."""
    width = block.width * block.expansion
    if block.stride == 1 and x.shape[-1] == width:
        return x
    x = block.conv(width, (1, 1), strides=block.stride, name="shortcut_conv")(x)
    return block.norm(name="shortcut_norm")(x)


class ResNet(nn.Module):
    """A residual network: stem, stages of blocks, global average, logits.

    num_classes: K, the number of logits.
    stage_sizes: blocks in each stage; every stage but the first halves the image.
    block: `BasicBlock` or `BottleneckBlock`.
    width: channels of the first stage's 3x3 convolutions; each stage doubles it.
    stem: "imagenet" (7x7 stride 2, then 3x3 max-pooling stride 2) or "cifar" (3x3, stride 1).
    activation, norm: as in `CNN`. The last norm of a block starts at 0, so that a block starts as
      its shortcut (Goyal et al. 2017, arXiv:1706.02677).
    dropout: share of values set to 0 before the logits.
    dtype: of the computation; parameters and logits are float32.
    axis_name: see `norm_layer`.
    """

    num_classes: int
    stage_sizes: tuple[int, ...]
    block: Callable[..., nn.Module]
    width: int = 64
    stem: str = "imagenet"
    activation: str = "relu"
    norm: str = "batch"
    dropout: float = 0.0
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool, features: bool = False) -> Output:
        if self.stem not in STEMS:
            raise ValueError(f"stem={self.stem!r}: expected one of {', '.join(STEMS)}")
        check_sizes(width=self.width)
        check_shares(dropout=self.dropout)
        activation = choose(ACTIVATIONS, "activation", self.activation)
        norm = norm_layer(self.norm, train=train, dtype=self.dtype, axis_name=self.axis_name)
        # Explicit padding as in PyTorch: "SAME" shifts strided convolutions of even sizes by half
        # a pixel, and published weights would no longer fit.
        conv = partial(
            _conv,
            use_bias=self.norm == "none",
            kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
            dtype=self.dtype,
        )

        stages = Stages()
        x = image.astype(self.dtype)
        kernel_size, stride = ((3, 3), 1) if self.stem == "cifar" else ((7, 7), 2)
        x = activation(norm()(conv(self.width, kernel_size, strides=stride)(x)))
        x = keep(self, stages, "stem", x)
        if self.stem == "imagenet":
            x = nn.max_pool(x, window_shape=(3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        for stage, num_blocks in enumerate(self.stage_sizes):
            for position in range(num_blocks):
                x = self.block(
                    width=self.width * 2**stage,
                    stride=2 if stage > 0 and position == 0 else 1,
                    conv=conv,
                    norm=norm,
                    activation=activation,
                )(x)
            x = keep(self, stages, f"stage{stage + 1}", x)
        x = x.mean((1, 2))
        if self.dropout:
            x = nn.Dropout(self.dropout)(x, deterministic=not train)
        x = keep(self, stages, "penultimate", x)
        logits = nn.Dense(self.num_classes, dtype=at_least_float32(self.dtype))(x)
        return (logits, stages) if features else logits


def _conv(features: int, kernel_size: tuple[int, int], **keywords: Any) -> nn.Conv:
    padding = [(size // 2, size // 2) for size in kernel_size]
    return nn.Conv(features, kernel_size, padding=padding, **keywords)
