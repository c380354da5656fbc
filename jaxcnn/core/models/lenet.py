"""LeNet-5 (LeCun et al. 1998, Proceedings of the IEEE 86(11)), as it is built today."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.core.models.layers import (
    ACTIVATIONS,
    POOLS,
    Output,
    Stages,
    at_least_float32,
    check_shares,
    check_sizes,
    choose,
    keep,
)


class LeNet(nn.Module):
    """Two 5x5 convolutions, each ended by 2x2 pooling; two dense layers; logits.

    Of the paper's network it leaves out the trained scales of the pooling, the table of which maps
    the second convolution sees (it sees all), and the distances to drawn characters at the end.

    num_classes: K, the number of logits.
    filters: channels of the two convolutions.
    dense: widths of the dense layers, the paper's C5 and F6.
    padding: pixels of zeros around the image; 2 makes 28x28 pixels the 32x32 of the paper.
    pool: "avg" or "max".
    activation: a name in `jaxcnn.core.models.layers.ACTIVATIONS`.
    dropout: share of values set to 0 after each dense layer.
    dtype: of the computation; parameters and logits are float32.
    axis_name: unused, as nothing here looks at a whole batch.
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
    def __call__(self, image: jax.Array, *, train: bool, features: bool = False) -> Output:
        check_sizes(filters=self.filters, dense=self.dense, padding=self.padding + 1)
        check_shares(dropout=self.dropout)
        activation = choose(ACTIVATIONS, "activation", self.activation)
        pool = choose(POOLS, "pool", self.pool)
        stages = Stages()
        x = image.astype(self.dtype)
        # The least that leaves one pixel: ((16 - 4) // 2 - 4) // 2.
        if min(x.shape[1:3]) + 2 * self.padding < 16:
            raise ValueError(
                f"padding={self.padding}: {x.shape[1]}x{x.shape[2]} pixels are too few for two 5x5 "
                "convolutions and poolings; with the padding a side needs 16"
            )
        for number, (filters, padding) in enumerate(
            zip(self.filters, (self.padding, 0), strict=True), start=1
        ):
            x = nn.Conv(filters, (5, 5), padding=padding, dtype=self.dtype, name=f"conv{number}")(x)
            x = keep(self, stages, f"stage{number}", activation(x))
            x = pool(x, window_shape=(2, 2), strides=(2, 2))
        # Channels first, as PyTorch's weights count what the first dense layer sees.
        x = x.transpose(0, 3, 1, 2).reshape(len(x), -1)
        for number, width in enumerate(self.dense, start=1):
            x = activation(nn.Dense(width, dtype=self.dtype, name=f"dense{number}")(x))
            if self.dropout:
                x = nn.Dropout(self.dropout)(x, deterministic=not train)
        x = keep(self, stages, "penultimate", x)
        head = nn.Dense(self.num_classes, dtype=at_least_float32(self.dtype), name="head")
        return (head(x), stages) if features else head(x)
