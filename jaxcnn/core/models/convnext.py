"""ConvNeXt (Liu et al. 2022, arXiv:2201.03545)."""

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
    norm_layer,
)

Layer = Callable[..., Any]

# The paper truncates at two, a hundred standard deviations away.
_INIT = nn.initializers.normal(0.02)


class Block(nn.Module):
    """A depthwise convolution, norm, and two dense layers at each pixel, beside a shortcut; keeps
    the shape [B, H, W, C].

    layer_scale: what the scales of the channels of the sum's new part start at (Touvron et al.
      2021, arXiv:2103.17239).
    drop_rate: of stochastic depth. The other keywords are those of `ConvNeXt`.
    """

    kernel_size: int
    expansion: int
    layer_scale: float
    drop_rate: float
    norm: Layer
    activation: Callable[[jax.Array], jax.Array]
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        channels, padding = x.shape[-1], self.kernel_size // 2
        dense = partial(nn.Dense, kernel_init=_INIT, dtype=self.dtype)
        y = nn.Conv(
            channels,
            (self.kernel_size, self.kernel_size),
            padding=padding,
            feature_group_count=channels,
            kernel_init=_INIT,
            dtype=self.dtype,
            name="depthwise",
        )(x)
        y = self.norm(name="norm")(y)
        y = self.activation(dense(self.expansion * channels, name="expand")(y))
        y = dense(channels, name="project")(y)
        start = nn.initializers.constant(self.layer_scale)
        y = y * self.param("layer_scale", start, (channels,)).astype(self.dtype)
        if self.drop_rate:
            y = StochasticDepth(self.drop_rate)(y, train=train)
        return x + y


class ConvNeXt(nn.Module):
    """ConvNeXt: a patch stem, stages of blocks, global average, norm, logits.

    A stage but the first begins with a norm and a 2x2 convolution of stride 2. A last row or column
    of pixels that the strides leave over is not seen.

    num_classes: K, the number of logits.
    depths: blocks in each stage; widths: its channels.
    patch_size: kernel and stride of the stem, in pixels; with 1 it is a 3x3 convolution.
    kernel_size: of the depthwise convolutions, in pixels; odd.
    expansion: by how much a block's dense layers widen the channels in between.
    layer_scale: see `Block`.
    stochastic_depth: chance of the last block to be left out of a training step, see `depth_rates`;
      the paper has 0.1 for tiny, 0.4 for small, 0.5 for base and large.
    activation, norm: as in `CNN`.
    dropout: share of values set to 0 before the logits.
    dtype: of the computation; parameters and logits are float32.
    axis_name: see `norm_layer`.
    """

    num_classes: int
    depths: tuple[int, ...] = (3, 3, 9, 3)
    widths: tuple[int, ...] = (96, 192, 384, 768)
    patch_size: int = 4
    kernel_size: int = 7
    expansion: int = 4
    layer_scale: float = 1e-6
    stochastic_depth: float = 0.1
    activation: str = "gelu_exact"
    norm: str = "layer"
    dropout: float = 0.0
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool, features: bool = False) -> Output:
        self._check(image)
        norm = norm_layer(self.norm, train=train, dtype=self.dtype, axis_name=self.axis_name)
        block = partial(
            Block,
            kernel_size=self.kernel_size,
            expansion=self.expansion,
            layer_scale=self.layer_scale,
            norm=norm,
            activation=choose(ACTIVATIONS, "activation", self.activation),
            dtype=self.dtype,
        )
        rates = iter(depth_rates(self.stochastic_depth, sum(self.depths)))

        stages = Stages()
        x = image.astype(self.dtype)
        if self.patch_size == 1:
            x = self._conv(self.widths[0], 3, stride=1, padding=1, name="stem_conv")(x)
        else:
            x = self._conv(self.widths[0], self.patch_size, name="stem_conv")(x)
        x = keep(self, stages, "stem", norm(name="stem_norm")(x))
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), start=1):
            if stage > 1:
                x = norm(name=f"stage{stage}_norm")(x)
                x = self._conv(width, 2, name=f"stage{stage}_conv")(x)
            for position in range(depth):
                x = block(drop_rate=next(rates), name=f"stage{stage}_block{position}")(
                    x, train=train
                )
            x = keep(self, stages, f"stage{stage}", x)
        x = norm(name="head_norm")(x.mean((1, 2)))
        if self.dropout:
            x = nn.Dropout(self.dropout)(x, deterministic=not train)
        x = keep(self, stages, "penultimate", x)
        logits = nn.Dense(
            self.num_classes, kernel_init=_INIT, dtype=at_least_float32(self.dtype), name="head"
        )(x)
        return (logits, stages) if features else logits

    def _conv(
        self, width: int, size: int, stride: int | None = None, padding: int = 0, *, name: str
    ) -> nn.Conv:
        return nn.Conv(
            width,
            (size, size),
            strides=size if stride is None else stride,
            padding=padding,
            kernel_init=_INIT,
            dtype=self.dtype,
            name=name,
        )

    def _check(self, image: jax.Array) -> None:
        check_sizes(
            depths=self.depths,
            widths=self.widths,
            patch_size=self.patch_size,
            kernel_size=self.kernel_size,
            expansion=self.expansion,
        )
        check_shares(dropout=self.dropout, stochastic_depth=self.stochastic_depth)
        if len(self.widths) != len(self.depths):
            raise ValueError(
                f"widths={self.widths!r}: expected one for each of depths={self.depths!r}"
            )
        if self.kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={self.kernel_size!r}: expected an odd number")
        least = self.patch_size * 2 ** (len(self.depths) - 1)
        if min(image.shape[1:3]) < least:
            raise ValueError(
                f"patch_size={self.patch_size!r}: with {len(self.depths)} stages the image needs "
                f"{least}x{least} pixels, it has {image.shape[1]}x{image.shape[2]}; use a smaller "
                "one, fewer stages (convnext) or a larger image"
            )
