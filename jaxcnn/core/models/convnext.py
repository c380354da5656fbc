"""ConvNeXt (Liu et al. 2022, arXiv:2201.03545)."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.core.models import layers

# The paper truncates at two, a hundred standard deviations away.
_INIT = nn.initializers.normal(0.02)


class Block(nn.Module):
    """A depthwise convolution, norm, and two dense layers at each pixel, beside a shortcut; keeps
    the shape [B, H, W, C]. drop_rate: of stochastic depth; the others: see `ConvNeXt`.
    """

    kernel_size: int
    expansion: int
    layer_scale: float
    drop_rate: float
    norm: layers.Layer
    activation: layers.Activation
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
            y = layers.StochasticDepth(self.drop_rate)(y, train=train)
        return x + y


class ConvNeXt(nn.Module):
    """ConvNeXt: a patch stem, stages of blocks, global average, norm, logits.

    A stage but the first begins with a norm and a 2x2 convolution of stride 2. A last row or column
    of pixels that the strides leave over is not seen.

    depths: blocks in each stage; widths: its channels.
    patch_size: kernel and stride of the stem, in pixels; with 1 it is a 3x3 convolution.
    kernel_size: of the depthwise convolutions, in pixels; odd.
    expansion: channels between a block's dense layers, in multiples of its own.
    layer_scale: the start of the parameters that scale the channels of a block before they are
      added to its shortcut (Touvron et al. 2021, arXiv:2103.17239).
    stochastic_depth: the paper has 0.1 for tiny, 0.4 for small, 0.5 for base and large.

    Other keywords: `jaxcnn.core.models`.
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
    def __call__(self, image: jax.Array, *, train: bool, features: bool = False) -> layers.Output:
        self._check(image)
        norm = layers.norm_layer(self.norm, train=train, dtype=self.dtype, axis_name=self.axis_name)
        block = partial(
            Block,
            kernel_size=self.kernel_size,
            expansion=self.expansion,
            layer_scale=self.layer_scale,
            norm=norm,
            activation=layers.choose(layers.ACTIVATIONS, "activation", self.activation),
            dtype=self.dtype,
        )
        rates = iter(layers.depth_rates(self.stochastic_depth, sum(self.depths)))
        conv = partial(nn.Conv, kernel_init=_INIT, dtype=self.dtype)

        def patches(width: int, size: int, name: str) -> nn.Conv:
            return conv(width, (size, size), strides=size, padding=0, name=name)

        stages = layers.Stages()
        x = image.astype(self.dtype)
        if self.patch_size == 1:
            x = conv(self.widths[0], (3, 3), padding=1, name="stem_conv")(x)
        else:
            x = patches(self.widths[0], self.patch_size, name="stem_conv")(x)
        x = layers.keep(self, stages, "stem", norm(name="stem_norm")(x))
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), start=1):
            if stage > 1:
                x = norm(name=f"stage{stage}_norm")(x)
                x = patches(width, 2, name=f"stage{stage}_conv")(x)
            for position in range(depth):
                x = block(drop_rate=next(rates), name=f"stage{stage}_block{position}")(
                    x, train=train
                )
            x = layers.keep(self, stages, f"stage{stage}", x)
        x = norm(name="head_norm")(x.mean((1, 2)))
        x = layers.dropout(x, self.dropout, train)
        return layers.classify(self, stages, x, features, kernel_init=_INIT)

    def _check(self, image: jax.Array) -> None:
        layers.check_sizes(self, "depths", "widths", "patch_size", "kernel_size", "expansion")
        layers.check_shares(self, "dropout", "stochastic_depth")
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
