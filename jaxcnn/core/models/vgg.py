"""VGG (Simonyan & Zisserman 2015, arXiv:1409.1556): stages of 3x3 convolutions, dense layers."""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.core.models import layers


class VGG(nn.Module):
    """Stages of [convolution, norm, activation], each ended by 2x2 max-pooling; the average over a
    grid of cells; dense layers; logits.

    stage_sizes: convolutions in each stage.
    width: channels of the first stage; each stage doubles it, to 8 times as many at most.
    grid: cells along each side, averages of the last stage's output, that the dense layers see: 7,
      as for 224x224 pixels; 1 is the global average, which suits small images.
    dense: widths of the dense layers before the logits, in the paper nine tenths of the parameters;
      () for none.
    norm: "none" is the paper's. dropout: share of values set to 0 after each of `dense`.

    Other keywords: `jaxcnn.core.models`. Convolutions and norms are named by their place in
    torchvision's list of layers, in which activations and poolings count too.
    """

    num_classes: int
    stage_sizes: tuple[int, ...]
    width: int = 64
    grid: int = 7
    dense: tuple[int, ...] = (4096, 4096)
    activation: str = "relu"
    norm: str = "none"
    dropout: float = 0.5
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool, features: bool = False) -> layers.Output:
        layers.check_sizes(self, "stage_sizes", "width", "grid", "dense")
        layers.check_shares(self, "dropout")
        activation = layers.choose(layers.ACTIVATIONS, "activation", self.activation)
        stages = layers.Stages()
        x = image.astype(self.dtype)
        if min(x.shape[1:3]) < 2 ** len(self.stage_sizes):
            raise ValueError(
                f"stage_sizes={self.stage_sizes!r}: each stage halves the image, and "
                f"{x.shape[1]}x{x.shape[2]} pixels are too few; use fewer stages or a larger image"
            )
        x = self._convolutions(stages, x, train)
        # Channels first, as published weights count what the first dense layer sees.
        x = _grid_average(x, self.grid).transpose(0, 3, 1, 2).reshape(len(x), -1)
        for number, width in enumerate(self.dense, start=1):
            x = activation(nn.Dense(width, dtype=self.dtype, name=f"dense{number}")(x))
            x = layers.dropout(x, self.dropout, train)
        return layers.classify(self, stages, x, features)

    def _convolutions(self, stages: layers.Stages, x: jax.Array, train: bool) -> jax.Array:
        activation = layers.ACTIVATIONS[self.activation]
        norm = layers.norm_layer(self.norm, train=train, dtype=self.dtype, axis_name=self.axis_name)
        # Biases stay beside norms, as in torchvision.
        conv = partial(layers.padded_conv, kernel_init=layers.HE_FAN_OUT, dtype=self.dtype)
        place, each = 0, 2 if self.norm == "none" else 3
        for stage, num_convs in enumerate(self.stage_sizes):
            for _ in range(num_convs):
                x = conv(self.width * min(2**stage, 8), (3, 3), name=f"features_{place}")(x)
                x = activation(norm(name=f"features_{place + 1}")(x))
                place += each
            x = layers.keep(self, stages, f"stage{stage + 1}", x)
            x = layers.max_pool(x, window_shape=(2, 2), strides=(2, 2))
            place += 1
        return x


def _grid_average(x: jax.Array, cells: int) -> jax.Array:
    """[B, H, W, C] -> [B, cells, cells, C], averages over cells that overlap where sides are no
    multiple of their number, and repeat pixels where there are fewer.
    """
    for axis in (1, 2):
        side = x.shape[axis]
        if side == cells:
            continue
        weights = np.zeros((cells, side))
        for cell in range(cells):
            weights[cell, cell * side // cells : -(-(cell + 1) * side // cells)] = 1
        weights /= weights.sum(1, keepdims=True)
        x = jnp.tensordot(x, weights.astype(x.dtype), (axis, 1), precision="highest")
        x = jnp.moveaxis(x, -1, axis)
    return x
