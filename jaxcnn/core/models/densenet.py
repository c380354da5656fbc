"""Densely connected networks (Huang et al. 2017, arXiv:1608.06993), with bottlenecks and
compression (DenseNet-BC).
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.core.models import layers


class DenseLayer(nn.Module):
    """Appends the output of norm, activation, 1x1 convolution, norm, activation and 3x3 convolution
    to the input: [B, H, W, C] -> [B, H, W, C + growth].
    """

    growth: int
    bottleneck: int
    dropout: float
    conv: layers.Layer
    norm: layers.Layer
    activation: layers.Activation

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        y = self.activation(self.norm(name="norm1")(x))
        y = self.conv(self.bottleneck * self.growth, (1, 1), name="conv1")(y)
        y = self.activation(self.norm(name="norm2")(y))
        y = self.conv(self.growth, (3, 3), name="conv2")(y)
        y = layers.dropout(y, self.dropout, train)
        return jnp.concatenate([x, y], axis=-1)


class DenseNet(nn.Module):
    """A stem, stages of dense layers, global average, logits.

    Each dense layer sees the outputs of all before it in its stage. Between stages a transition
    reduces the channels (norm, activation, 1x1 convolution) and halves the image (2x2 average).

    depths: dense layers in each stage.
    growth: channels that a dense layer adds.
    stem_width: channels of the stem.
    bottleneck: channels between the convolutions of a dense layer, in multiples of `growth`.
    compression: share of the channels that a transition keeps.
    stem: "imagenet" (7x7 stride 2, norm, activation, then 3x3 max-pooling stride 2) or "cifar"
      (3x3, stride 1).
    layer_dropout: share of the values that a dense layer adds set to 0.

    Other keywords: `jaxcnn.core.models`.
    """

    num_classes: int
    depths: tuple[int, ...] = (6, 12, 24, 16)
    growth: int = 32
    stem_width: int = 64
    bottleneck: int = 4
    compression: float = 0.5
    stem: str = "imagenet"
    activation: str = "relu"
    norm: str = "batch"
    layer_dropout: float = 0.0
    dropout: float = 0.0
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool, features: bool = False) -> layers.Output:
        self._check(image)
        norm = layers.norm_layer(self.norm, train=train, dtype=self.dtype, axis_name=self.axis_name)
        activation = layers.choose(layers.ACTIVATIONS, "activation", self.activation)
        conv = layers.conv_layer(self, nn.initializers.he_normal())
        layer = partial(
            DenseLayer,
            growth=self.growth,
            bottleneck=self.bottleneck,
            dropout=self.layer_dropout,
            conv=conv,
            norm=norm,
            activation=activation,
        )

        stages = layers.Stages()
        x = image.astype(self.dtype)
        if self.stem == "imagenet":
            x = conv(self.stem_width, (7, 7), strides=2, name="stem_conv")(x)
            x = layers.keep(self, stages, "stem", activation(norm(name="stem_norm")(x)))
            x = layers.max_pool(x, window_shape=(3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))
        else:
            x = conv(self.stem_width, (3, 3), name="stem_conv")(x)
            x = layers.keep(self, stages, "stem", x)
        for stage, depth in enumerate(self.depths, start=1):
            for number in range(1, depth + 1):
                x = layer(name=f"stage{stage}_layer{number}")(x, train=train)
            if stage == len(self.depths):
                x = activation(norm(name="head_norm")(x))
            x = layers.keep(self, stages, f"stage{stage}", x)
            if stage < len(self.depths):
                x = activation(norm(name=f"transition{stage}_norm")(x))
                width = max(1, int(self.compression * x.shape[-1]))
                x = conv(width, (1, 1), name=f"transition{stage}_conv")(x)
                x = nn.avg_pool(x, window_shape=(2, 2), strides=(2, 2))
        x = x.mean((1, 2))
        return layers.classify(self, stages, layers.dropout(x, self.dropout, train), features)

    def _check(self, image: jax.Array) -> None:
        layers.choose(("cifar", "imagenet"), "stem", self.stem)
        layers.check_sizes(self, "depths", "growth", "stem_width", "bottleneck")
        layers.check_shares(self, "layer_dropout", "dropout")
        if not 0 < self.compression <= 1:
            raise ValueError(f"compression={self.compression!r}: expected a share above 0, up to 1")
        halvings = len(self.depths) - 1
        # The stem's strided layers round up, the transitions down.
        least = 2**halvings if self.stem == "cifar" else 4 * 2**halvings - 3
        if min(image.shape[1:3]) < least:
            raise ValueError(
                f"stem={self.stem!r}: {len(self.depths)} stages need an image of {least}x{least} "
                f"pixels, it has {image.shape[1]}x{image.shape[2]}; use stem='cifar', fewer stages "
                "or a larger image"
            )
