"""How bright images are and how much contrast they have, to tell a picture unlike all of training:
with another window than the model was trained with, inverted, or empty.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxcnn.data.pipeline import eval_batches
from jaxcnn.data.source import Split

# So many images of training tell what is usual, but for one in a hundred at either end. Where they
# are streamed these are decoded before the first step.
_IMAGES, _USUAL = 256, (0.01, 0.99)
# What is twice as near to black, to white or to a single colour as that is far from usual.
_FAR = 2


def brightness_and_contrast(image: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation over 0..1 of the values of an image, uint8[H, W, C].

    By OpenCV's whole sums, of 224x224x3 values in 7 us where NumPy's floats took 226: servers ask
    at each picture.
    """
    import cv2

    mean, deviation = cv2.meanStdDev(image.reshape(-1, 1))
    return mean.item() / 255, deviation.item() / 255


def usual_looks(split: Split) -> dict[str, list[float]]:
    """Returns {"brightness": [low, high], "contrast": [low, high]} of nearly all of a split."""
    rows = split.rows[np.linspace(0, len(split) - 1, min(len(split), _IMAGES)).astype(np.int64)]
    sample = Split(split.images, np.unique(rows), split.source)
    pairs = [
        brightness_and_contrast(image)
        for batch in eval_batches(sample, len(sample))
        for image in batch["image"][batch["mask"]]
    ]
    brightness, contrast = np.quantile(pairs, _USUAL, axis=0).T.tolist()
    return {"brightness": brightness, "contrast": contrast}


def unlike(image: np.ndarray, usual: Mapping[str, Any]) -> str | None:
    """Why an image, uint8[H, W, C], looks unlike those of training; None where it does not.

    usual: what `usual_looks` gives of them.
    """
    brightness, contrast = brightness_and_contrast(image)
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
