"""Fifteen ways in which images go wrong, in five severities, to measure how robust a model is.

After CIFAR-10-C and ImageNet-C (Hendrycks & Dietterich 2019, arXiv:1903.12261), made on the device
for images of any size: lengths grow with the shorter side, weather is drawn, not read from
photographs, and what the paper does one pixel after the other is done for all at once. The kinds
are the paper's, the numbers are ours: accuracies cannot be compared with published ones.

A corruption is `corruption(keys, image, severity) -> float32[B, H, W, C]` in 0..255, unrounded:

    keys: [B], one for each image; the result depends on its own key and pixels alone
    image: uint8 or float[B, H, W, C] in 0..255, C = 1 or 3
    severity: 1 to 5, or int32[]: one compiled function then does for all five
"""

from collections.abc import Callable

import jax

from jaxcnn.core.corruptions.blur import defocus_blur, glass_blur, motion_blur, zoom_blur
from jaxcnn.core.corruptions.digital import (
    contrast,
    elastic_transform,
    jpeg_compression,
    pixelate,
)
from jaxcnn.core.corruptions.noise import gaussian_noise, impulse_noise, shot_noise
from jaxcnn.core.corruptions.severity import SEVERITIES
from jaxcnn.core.corruptions.weather import brightness, fog, frost, snow

Corruption = Callable[[jax.Array, jax.Array, int | jax.Array], jax.Array]

CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": gaussian_noise,
    "shot_noise": shot_noise,
    "impulse_noise": impulse_noise,
    "defocus_blur": defocus_blur,
    "glass_blur": glass_blur,
    "motion_blur": motion_blur,
    "zoom_blur": zoom_blur,
    "snow": snow,
    "frost": frost,
    "fog": fog,
    "brightness": brightness,
    "contrast": contrast,
    "elastic_transform": elastic_transform,
    "pixelate": pixelate,
    "jpeg_compression": jpeg_compression,
}

__all__ = ["CORRUPTIONS", "SEVERITIES", "Corruption"]
