"""Wide residual networks (Zagoruyko & Komodakis 2016, arXiv:1605.07146): few layers, many channels.

Norm and activation come before each convolution (He et al. 2016, arXiv:1603.05027).
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.core.models import layers


class WideBlock(nn.Module):
    """Twice [norm, activation, 3x3 convolution] beside a shortcut; [B, H, W, C] ->
    [B, H/stride, W/stride, width]. Where the width or the size changes, the shortcut is a 1x1
    convolution of the first activation's output.

    conv, norm: constructors of layers. dropout: share of values set to 0 between the convolutions.
    stochastic_depth: chance to be left out in training.
    """

    width: int
    stride: int
    conv: layers.Layer
    norm: layers.Layer
    activation: layers.Activation
    dropout: float = 0.0
    stochastic_depth: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = self.activation(self.norm(name="norm1")(x))
        if self.stride > 1 or x.shape[-1] != self.width:
            x = self.conv(self.width, (1, 1), strides=self.stride, name="shortcut_conv")(y)
        y = self.conv(self.width, (3, 3), strides=self.stride, name="conv1")(y)
        y = self.activation(self.norm(name="norm2")(y))
        y = layers.dropout(y, self.dropout, train)
        y = self.conv(self.width, (3, 3), name="conv2")(y)
        return x + layers.StochasticDepth(self.stochastic_depth, name="drop")(y, train=train)


class WideResNet(nn.Module):
    """A 3x3 convolution, stages of `WideBlock`, norm, activation, global average, logits.

    stage_sizes: blocks in each stage; every stage but the first halves the image. Three stages of n
      blocks have 6n + 4 layers.
    widen: k of WRN-n-k: channels of the stages are 16k, 32k, 64k.
    width: channels of the first convolution, which k does not widen.
    block_dropout: share of values set to 0 between a block's convolutions; the paper has 0.3 for
      CIFAR.

    Other keywords: `jaxcnn.core.models`.
    """

    num_classes: int
    stage_sizes: tuple[int, ...]
    widen: int
    width: int = 16
    activation: str = "relu"
    norm: str = "batch"
    block_dropout: float = 0.0
    stochastic_depth: float = 0.0
    dropout: float = 0.0
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool, features: bool = False) -> layers.Output:
        layers.check_sizes(self, "stage_sizes", "widen", "width")
        layers.check_shares(self, "block_dropout", "stochastic_depth", "dropout")
        activation = layers.choose(layers.ACTIVATIONS, "activation", self.activation)
        norm = layers.norm_layer(self.norm, train=train, dtype=self.dtype, axis_name=self.axis_name)
        conv = layers.conv_layer(self)
        rates = iter(layers.depth_rates(self.stochastic_depth, sum(self.stage_sizes)))
        stages = layers.Stages()
        x = conv(self.width, (3, 3), name="stem_conv")(image.astype(self.dtype))
        x = layers.keep(self, stages, "stem", x)
        for stage, num_blocks in enumerate(self.stage_sizes):
            for position in range(num_blocks):
                x = WideBlock(
                    width=self.width * self.widen * 2**stage,
                    stride=2 if stage > 0 and position == 0 else 1,
                    conv=conv,
                    norm=norm,
                    activation=activation,
                    dropout=self.block_dropout,
                    stochastic_depth=next(rates),
                    name=f"stage{stage + 1}_block{position}",
                )(x, train=train)
            if stage == len(self.stage_sizes) - 1:
                x = activation(norm(name="last_norm")(x))
            x = layers.keep(self, stages, f"stage{stage + 1}", x)
        x = x.mean((1, 2))
        return layers.classify(self, stages, layers.dropout(x, self.dropout, train), features)
