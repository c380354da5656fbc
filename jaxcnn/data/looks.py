"""How bright images are and how much contrast they have, to tell a picture unlike all of training:
with another window than the model was trained with, inverted, or empty.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxcnn.data.pipeline import eval_batches
from jaxcnn.data.source import Split

# So many images of training tell what is usual, but for one in a hundred at either end.
_IMAGES, _USUAL = 1_000, (0.01, 0.99)
# What is twice as near to black, to white or to a single colour as that is far from usual.
_FAR = 2


def brightness_and_contrast(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation over 0..1 of each image of uint8[N, H, W, C], float64[N]."""
    flat = image.reshape(len(image), -1)
    return flat.mean(axis=1) / 255, flat.std(axis=1) / 255


def usual_looks(split: Split) -> dict[str, list[float]]:
    """Returns {"brightness": [low, high], "contrast": [low, high]} of nearly all of a split."""
    rows = split.rows[np.linspace(0, len(split) - 1, min(len(split), _IMAGES)).astype(np.int64)]
    sample = Split(split.images, np.unique(rows), split.source)
    pairs = [
        brightness_and_contrast(batch["image"][batch["mask"]])
        for batch in eval_batches(sample, min(len(sample), 256))
    ]
    measured = zip(*pairs, strict=True)
    return {
        name: np.quantile(np.concatenate(values), _USUAL).tolist()
        for name, values in zip(("brightness", "contrast"), measured, strict=True)
    }


def unlike(image: np.ndarray, usual: Mapping[str, Any]) -> str | None:
    """Why an image, uint8[H, W, C], looks unlike those of training; None where it does not.

    usual: what `usual_looks` gives of them.
    """
    brightness, contrast = (float(values[0]) for values in brightness_and_contrast(image[None]))
    (dark, bright), (flat, harsh) = usual["brightness"], usual["contrast"]
    for wrong, word, what, value, (low, high) in (
        (_FAR * brightness < dark, "darker", "mean", brightness, (dark, bright)),
        (_FAR * (1 - brightness) < 1 - bright, "brighter", "mean", brightness, (dark, bright)),
        (_FAR * contrast < flat, "flatter", "deviation", contrast, (flat, harsh)),
        (contrast > _FAR * harsh, "harsher", "deviation", contrast, (flat, harsh)),
    ):
        if wrong:
            return (
                f"far {word} than the images of training ({what} {value:.3f} of 0 to 1, theirs "
                f"{low:.3f} to {high:.3f})"
            )
    return None
