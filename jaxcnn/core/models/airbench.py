"""The airbench networks (Jordan 2024, arXiv:2404.00498), made to learn CIFAR-10 in seconds.

Their first layer whitens patches of pixels; its kernel is no parameter but comes from the training
images, see `Airbench.init_from_data`.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.core.models import layers

# U(-1, 1) / sqrt(fan_in), from which PyTorch draws by default.
_UNIFORM = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def whitening_weights(
    images: np.ndarray, kernel_size: int = 2, epsilon: float = 5e-4
) -> np.ndarray:
    """The kernel float32[k, k, C, 2kkC] of a convolution whose outputs, for patches of the images,
    are uncorrelated and of variance 1: the patches' principal components, the largest first, and
    their negatives (Page 2019; Jordan 2024).

    images: float[N, H, W, C] as the model sees them, around 0.
    epsilon: added to the components' variances, so that small ones are not blown up.

    Computed in float64 on the host. The sign of a component: its largest element is positive.
    """
    size = kernel_size * kernel_size * images.shape[-1]
    total, count = np.zeros((size, size)), 0
    for start in range(0, len(images), 256):  # a patch is kk times as large as its pixel
        part = np.asarray(images[start : start + 256], np.float64)
        window = (kernel_size, kernel_size)
        patches = np.lib.stride_tricks.sliding_window_view(part, window, axis=(1, 2))
        patches = patches.transpose(0, 1, 2, 4, 5, 3).reshape(-1, size)
        total += patches.T @ patches
        count += len(patches)
    variances, components = np.linalg.eigh(total / count)
    variances, components = variances[::-1], components[:, ::-1]
    largest = np.abs(components).argmax(0)
    components = components * np.sign(components[largest, np.arange(size)])
    # Rounding may leave a variance of 0 below it.
    scaled = components / np.sqrt(np.maximum(variances, 0) + epsilon)
    both = np.concatenate([scaled, -scaled], axis=1)
    return both.reshape(kernel_size, kernel_size, images.shape[-1], 2 * size).astype(np.float32)


def dirac(key: jax.Array, shape: tuple[int, ...], dtype: Any = jnp.float32) -> jax.Array:
    """An initialiser of kernels [kh, kw, c_in, c_out] that copy input i to output i; outputs beyond
    the inputs are random.
    """
    height, width, channels_in, channels_out = shape
    alike = min(channels_in, channels_out)
    identity = jnp.zeros((height, width, channels_in, alike), dtype)
    place = jnp.arange(alike)
    identity = identity.at[height // 2, width // 2, place, place].set(1)
    return _UNIFORM(key, shape, dtype).at[..., :alike].set(identity)


class Whitening(nn.Module):
    """A convolution without padding: [B, H, W, C] -> [B, H-k+1, W-k+1, 2kkC].

    Its kernel is kept with the batch statistics, which no optimiser changes; its bias is a
    parameter. The kernel is random until `whitening_weights` take its place.
    """

    kernel_size: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        size, channels = self.kernel_size, x.shape[-1]
        width = 2 * size * size * channels
        shape = (size, size, channels, width)
        kernel = self.variable(
            "batch_stats", "kernel", lambda: _UNIFORM(self.make_rng("params"), shape)
        )
        bias = self.param("bias", nn.initializers.zeros, (width,))
        layout = ("NHWC", "HWIO", "NHWC")
        weights = kernel.value.astype(self.dtype)
        y = jax.lax.conv_general_dilated(x, weights, (1, 1), "VALID", dimension_numbers=layout)
        return y + bias.astype(self.dtype)


class Airbench(nn.Module):
    """Whitening; stages of convolutions, each pooled after its first; global maximum; logits.

    A stage is `convs_per_stage` times [3x3 convolution, norm, activation], with 2x2 max-pooling
    before the first norm. Norms have a bias and no scale. The defaults are those of airbench94.

    widths: channels of each stage.
    convs_per_stage: convolutions in each stage.
    shortcut: adds the output of a stage's first convolution, norm and activation to that of its
      last norm, before the activation.
    whitening_size: side of the whitening's kernel, in pixels.
    momentum: share of the running statistics that a step keeps.
    logit_scale: factor of the logits.

    Other keywords: `jaxcnn.core.models`.
    """

    num_classes: int
    widths: tuple[int, ...] = (64, 256, 256)
    convs_per_stage: int = 2
    shortcut: bool = False
    whitening_size: int = 2
    momentum: float = 0.6
    logit_scale: float = 1 / 9
    activation: str = "gelu_exact"
    dtype: Any = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(self, image: jax.Array, *, train: bool, features: bool = False) -> layers.Output:
        self._check(image)
        activation = layers.choose(layers.ACTIVATIONS, "activation", self.activation)
        norm = partial(
            nn.BatchNorm,
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=1e-12,
            use_scale=False,
            # With so small an epsilon a variance must not be lost in rounding.
            use_fast_variance=False,
            dtype=self.dtype,
            axis_name=self.axis_name,
        )
        kernels: Any = {"kernel_size": (3, 3), "use_bias": False, "kernel_init": dirac}
        conv: layers.Layer = partial(nn.Conv, **kernels, dtype=self.dtype)
        stages = layers.Stages()
        x = Whitening(self.whitening_size, self.dtype, name="whitening")(image.astype(self.dtype))
        x = layers.keep(self, stages, "stem", activation(x))
        for stage, width in enumerate(self.widths, start=1):
            first = x
            for number in range(1, self.convs_per_stage + 1):
                x = conv(width, name=f"stage{stage}_conv{number}")(x)
                if number == 1:
                    x = layers.max_pool(x, window_shape=(2, 2), strides=(2, 2))
                x = norm(name=f"stage{stage}_norm{number}")(x)
                if self.shortcut and number == self.convs_per_stage:
                    x = x + first
                x = activation(x)
                first = x if number == 1 else first
            x = layers.keep(self, stages, f"stage{stage}", x)
        head: Any = {"scale": self.logit_scale, "use_bias": False, "kernel_init": _UNIFORM}
        return layers.classify(self, stages, x.max((1, 2)), features, **head)

    def init_from_data(self, variables: Mapping[str, Any], images: np.ndarray) -> dict[str, Any]:
        """The variables, with the whitening computed from images; the others do not change.

        images: float[N, H, W, C] as the model sees them; some thousands of training images.
        """
        stats = variables["batch_stats"]
        whitening = {"kernel": jnp.asarray(whitening_weights(images, self.whitening_size))}
        return {**variables, "batch_stats": {**stats, "whitening": whitening}}

    def _check(self, image: jax.Array) -> None:
        layers.check_sizes(self, "widths", "convs_per_stage", "whitening_size")
        if not 0 <= self.momentum <= 1:
            raise ValueError(f"momentum={self.momentum!r}: expected a share from 0 to 1")
        if self.shortcut and self.convs_per_stage == 1:
            raise ValueError("convs_per_stage=1: with shortcut=True a stage needs 2 or more")
        least = 2 ** len(self.widths) + self.whitening_size - 1
        if min(image.shape[1:3]) < least:
            raise ValueError(
                f"widths={self.widths!r}: {len(self.widths)} stages need an image of "
                f"{least}x{least} pixels, it has {image.shape[1]}x{image.shape[2]}; use fewer "
                "stages or a larger image"
            )
