"""From an image file's bytes to the pixels a model sees: the one place, for training and serving.

`decode`, `to_channels` and `fit`, and what `resize_rule` says of them stands in a run's
`dataset.json`, so that a served model sees what it was trained on.
"""

from typing import Any

import numpy as np


def resize_rule() -> dict[str, Any]:
    """How `fit` resizes, in words that `dataset.json` keeps."""
    import cv2

    return {
        "resize": "shorter side to image_size",
        "algorithm": "area when shrinking, bilinear when enlarging",
        "crop": "center",
        "library": f"opencv {cv2.__version__}",
    }


def decode(content: bytes, channels: int) -> np.ndarray:
    """Decodes a JPEG, PNG, ... into uint8[h, w, channels], RGB or grey; ValueError if it is none.

    channels: 1 or 3; colour images become grey and grey ones colour as needed.
    """
    import cv2

    flag = cv2.IMREAD_GRAYSCALE if channels == 1 else cv2.IMREAD_COLOR
    image = cv2.imdecode(np.frombuffer(content, np.uint8), flag) if content else None
    if image is None:
        raise ValueError("not an image that OpenCV can decode")
    return image[..., None] if channels == 1 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def to_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """uint8[h, w, 1 or 3] -> uint8[h, w, channels]; grey is OpenCV's weighted mean."""
    if image.shape[-1] == channels:
        return image
    import cv2

    if channels == 3:
        return np.repeat(image, 3, axis=-1)
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]


def fit(image: np.ndarray, size: int) -> np.ndarray:
    """uint8[h, w, c] -> uint8[size, size, c]: the shorter side resized, the centre kept."""
    height, width, channels = image.shape
    if (height, width) == (size, size):
        return image
    import cv2

    scale = size / min(height, width)
    target = max(size, round(width * scale)), max(size, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    image = cv2.resize(image, target, interpolation=how).reshape(target[1], target[0], channels)
    top, left = (target[1] - size) // 2, (target[0] - size) // 2
    return image[top : top + size, left : left + size]
