"""LeNet-5 (LeCun et al. 1998, Proceedings of the IEEE 86(11)), as it is built today."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.core.models import layers


class LeNet(nn.Module):
    """Two 5x5 convolutions, each ended by 2x2 pooling; two dense layers; logits.

    Of the paper's network it leaves out the trained scales of the pooling, the table of which maps
    the second convolution sees (it sees all), and the distances to drawn characters at the end.

    filters: channels of the two convolutions.
    dense: widths of the dense layers, the paper's C5 and F6.
    padding: pixels of zeros around the image; 2 makes 28x28 pixels the 32x32 of the paper.
    pool: "avg" or "max".
    dropout: share of values set to 0 after each dense layer.

    Other keywords: `jaxcnn.core.models`; axis_name is not used.
    """

    num_classes: int
    filters: tuple[int, int] = (6, 16)
    dense: tuple[int, ...] = (120, 84)
    padding: int = 0
    pool: str = "avg"
    activation: str = "tanh"
    dropout: float = 0.0
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool, features: bool = False) -> layers.Output:
        layers.check_sizes(self, "filters", "dense")
        layers.check_sizes(self, "padding", least=0)
        layers.check_shares(self, "dropout")
        activation = layers.choose(layers.ACTIVATIONS, "activation", self.activation)
        pool = layers.choose(layers.POOLS, "pool", self.pool)
        stages = layers.Stages()
        x = image.astype(self.dtype)
        # The least that leaves one pixel: ((16 - 4) // 2 - 4) // 2.
        if min(x.shape[1:3]) + 2 * self.padding < 16:
            raise ValueError(
                f"padding={self.padding}: {x.shape[1]}x{x.shape[2]} pixels are too few for two 5x5 "
                "convolutions and poolings; with the padding a side needs 16"
            )
        sizes = zip(self.filters, (self.padding, 0), strict=True)
        for number, (filters, padding) in enumerate(sizes, start=1):
            x = nn.Conv(filters, (5, 5), padding=padding, dtype=self.dtype, name=f"conv{number}")(x)
            x = layers.keep(self, stages, f"stage{number}", activation(x))
            x = pool(x, window_shape=(2, 2), strides=(2, 2))
        # Channels first, as PyTorch's weights count what the first dense layer sees.
        x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        for number, width in enumerate(self.dense, start=1):
            x = activation(nn.Dense(width, dtype=self.dtype, name=f"dense{number}")(x))
            x = layers.dropout(x, self.dropout, train)
        return layers.classify(self, stages, x, features)
