"""OpenCV's decoder, for the formats whose every bit it keeps."""

from functools import cache

import numpy as np

from jaxcnn.data.damage import Damaged


def read_opencv(content: bytes) -> np.ndarray:
    """[h, w, 1 grey, 3 RGB or 4 RGBA] in the file's own depth, not turned."""
    cv2 = _silent()
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise Damaged("cannot be decoded")
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[-1]]
    return np.ascontiguousarray(pixels[..., order])


@cache
def _silent():
    """OpenCV without its own lines on stderr: what is wrong with a file, we say."""
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2
