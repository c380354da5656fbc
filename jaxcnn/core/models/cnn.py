"""A plain convolutional network whose every part comes from the config."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.core.models import layers


class CNN(nn.Module):
    """Stages of convolutions, each ended by pooling; global average; dense layers; logits.

    A stage is `convs_per_stage` times [convolution, norm, activation], then pooling and dropout.
    One number holds for all stages; a tuple has one for each. Other keywords: `jaxcnn.core.models`.

    filters: output channels of each stage; its length is the number of stages.
    convs_per_stage: convolutions in each stage.
    kernel_size: of the square kernels, in pixels.
    strides: of each stage's first convolution, in pixels.
    pool: "max" or "avg" (2x2, stride 2) or "none".
    pool_first: pool right after a stage's first convolution, so that its norm, activation and other
      convolutions work on a quarter of the pixels (as in Jordan 2024, arXiv:2404.00498).
    dropout: share of values set to 0 before each dense layer and the logits.
    stage_dropout: share of channels set to 0 after each stage (Tompson et al. 2015,
      arXiv:1411.4280).
    dense: widths of the dense layers between the global average and the logits.
    flatten: feed the dense layers all positions instead of their average.
    """

    num_classes: int
    filters: tuple[int, ...] = (32, 64, 128)
    convs_per_stage: int | tuple[int, ...] = 2
    kernel_size: int | tuple[int, ...] = 3
    strides: int | tuple[int, ...] = 1
    pool: str = "max"
    pool_first: bool = False
    activation: str = "relu"
    norm: str = "batch"
    dropout: float = 0.0
    stage_dropout: float = 0.0
    dense: tuple[int, ...] = ()
    flatten: bool = False
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool, features: bool = False) -> layers.Output:
        per_stage = ("convs_per_stage", "kernel_size", "strides")
        layers.check_sizes(self, "filters", *per_stage, "dense")
        layers.check_shares(self, "dropout", "stage_dropout")
        activation = layers.choose(layers.ACTIVATIONS, "activation", self.activation)
        norm = layers.norm_layer(self.norm, train=train, dtype=self.dtype, axis_name=self.axis_name)
        stages = layers.Stages()
        x = image.astype(self.dtype)

        sizes = zip(self.filters, *map(self._per_stage, per_stage), strict=True)
        for number, (filters, convs, kernel_size, stride) in enumerate(sizes, start=1):
            for position in range(convs):
                x = nn.Conv(
                    filters,
                    (kernel_size, kernel_size),
                    strides=stride if position == 0 else 1,
                    use_bias=self.norm == "none",
                    kernel_init=nn.initializers.he_normal(),
                    dtype=self.dtype,
                )(x)
                if self.pool_first and position == 0:
                    x = self._pool(x)
                x = activation(norm()(x))
            x = layers.keep(self, stages, f"stage{number}", x)
            if not self.pool_first:
                x = self._pool(x)
            x = layers.dropout(x, self.stage_dropout, train, broadcast_dims=(1, 2))

        x = x.reshape(len(x), -1) if self.flatten else x.mean((1, 2))
        for width in self.dense:
            x = layers.dropout(x, self.dropout, train)
            x = activation(nn.Dense(width, dtype=self.dtype)(x))
        x = layers.dropout(x, self.dropout, train)
        return layers.classify(self, stages, x, features, name=None)

    def _per_stage(self, name: str) -> tuple[int, ...]:
        value = getattr(self, name)
        values = (value,) * len(self.filters) if isinstance(value, int) else tuple(value)
        if len(values) != len(self.filters):
            raise ValueError(
                f"{name}={value!r}: {len(self.filters)} stages (one for each of "
                f"filters={self.filters!r}) need one number or {len(self.filters)}"
            )
        return values

    def _pool(self, x: jax.Array) -> jax.Array:
        if self.pool == "none":
            return x
        if min(x.shape[1:3]) < 2:
            raise ValueError(
                f"filters={self.filters!r}: the image has shrunk to {x.shape[1]}x{x.shape[2]} "
                "pixels before the last pooling; use fewer stages or a larger image"
            )
        pool = layers.choose(layers.POOLS | {"none": None}, "pool", self.pool)
        return pool(x, window_shape=(2, 2), strides=(2, 2))
