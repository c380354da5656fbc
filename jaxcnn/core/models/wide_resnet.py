"""Wide residual networks (Zagoruyko & Komodakis 2016, arXiv:1605.07146): few layers, many channels.

Norm and activation come before each convolution (He et al. 2016, arXiv:1603.05027).
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
    norm_layer,
    padded_conv,
)

Layer = Callable[..., Any]


class WideBlock(nn.Module):
    """Twice [norm, activation, 3x3 convolution] beside a shortcut; [B, H, W, C] ->
    [B, H/stride, W/stride, width]. Where the width changes, the shortcut is a 1x1 convolution of
    what the first activation gave.

    conv, norm: constructors of layers. dropout: share of values set to 0 between the convolutions.
    stochastic_depth: chance to be left out in training.
    """

    width: int
    stride: int
    conv: Layer
    norm: Layer
    activation: Callable[[jax.Array], jax.Array]
    dropout: float = 0.0
    stochastic_depth: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = self.activation(self.norm(name="norm1")(x))
        if self.stride > 1 or x.shape[-1] != self.width:
            x = self.conv(self.width, (1, 1), strides=self.stride, name="shortcut_conv")(y)
        y = self.conv(self.width, (3, 3), strides=self.stride, name="conv1")(y)
        y = self.activation(self.norm(name="norm2")(y))
        if self.dropout:
            y = nn.Dropout(self.dropout)(y, deterministic=not train)
        y = self.conv(self.width, (3, 3), name="conv2")(y)
        return x + StochasticDepth(self.stochastic_depth, name="drop")(y, train=train)


class WideResNet(nn.Module):
    """A 3x3 convolution, stages of `WideBlock`, norm, activation, global average, logits.

    num_classes: K, the number of logits.
    stage_sizes: blocks in each stage; every stage but the first halves the image. Three stages of n
      blocks have 6n + 4 layers.
    widen: k of WRN-n-k: channels of the stages are 16k, 32k, 64k.
    width: channels of the first convolution, which k does not widen.
    activation, norm: as in `CNN`.
    block_dropout: share of values set to 0 between a block's convolutions; the paper has 0.3 for
      CIFAR.
    stochastic_depth: chance of the last block to be left out; see `depth_rates`.
    dropout: share of values set to 0 before the logits.
    dtype: of the computation; parameters and logits are float32.
    axis_name: see `norm_layer`.
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
    def __call__(self, image: jax.Array, *, train: bool, features: bool = False) -> Output:
        check_sizes(stage_sizes=self.stage_sizes, widen=self.widen, width=self.width)
        shares = ("block_dropout", "stochastic_depth", "dropout")
        check_shares(**{key: getattr(self, key) for key in shares})
        activation = choose(ACTIVATIONS, "activation", self.activation)
        norm = norm_layer(self.norm, train=train, dtype=self.dtype, axis_name=self.axis_name)
        conv = partial(
            padded_conv,
            kernel_init=nn.initializers.variance_scaling(2.0, "fan_out", "normal"),
            use_bias=self.norm == "none",
            dtype=self.dtype,
        )
        rates = iter(depth_rates(self.stochastic_depth, sum(self.stage_sizes)))
        stages = Stages()
        x = conv(self.width, (3, 3), name="stem_conv")(image.astype(self.dtype))
        x = keep(self, stages, "stem", x)
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
            x = keep(self, stages, f"stage{stage + 1}", x)
        x = x.mean((1, 2))
        if self.dropout:
            x = nn.Dropout(self.dropout)(x, deterministic=not train)
        x = keep(self, stages, "penultimate", x)
        head = nn.Dense(self.num_classes, dtype=at_least_float32(self.dtype), name="head")
        return (head(x), stages) if features else head(x)
