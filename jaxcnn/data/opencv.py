"""OpenCV's decoder, for the formats whose every bit it keeps."""

import os
from functools import cache

import numpy as np

from jaxcnn.data.damage import Damaged


def read_opencv(content: bytes) -> np.ndarray:
    """[h, w, 1 grey, 3 RGB or 4 RGBA] in the file's own depth, not turned."""
    cv2 = silent_opencv()
    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise Damaged("cannot be decoded")
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[-1]]
    return np.ascontiguousarray(pixels[..., order])


@cache
def silent_opencv():
    """OpenCV without lines on stderr, its own and FFmpeg's: what is wrong with a file, we say."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # AV_LOG_QUIET; read at the first video
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    return cv2
