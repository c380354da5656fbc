"""JPEG, the format that must be fast: libjpeg-turbo, strict, at a smaller scale where that will do.

The pixels are those of OpenCV; but damage that OpenCV prints to stderr and passes over is refused,
and decoding into memory that is used again takes 0.60 ms instead of 0.94 (500x375 pixels): the rest
were page faults.
"""

import threading
from typing import NamedTuple

import numpy as np

from jaxcnn.data.damage import Damaged, check_size, reason_of
from jaxcnn.data.orientation import jpeg_orientation, upright

_memory = threading.local()
# Larger images are rare, and would keep their memory.
_MOST_REUSED = 2**26


class Jpeg(NamedTuple):
    """A JPEG whose header has been read, and whose pixels have not.

    size: (height, width) of the upright image. colorspace: libjpeg-turbo's name for the file's.
    orientation: EXIF's, 1 (upright) to 8.
    """

    content: bytes
    size: tuple[int, int]
    colorspace: str
    orientation: int


def open_jpeg(content: bytes) -> Jpeg:
    """Reads the header; Damaged where there is none, or it promises too much."""
    import simplejpeg

    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(content)
    except ValueError as error:
        raise Damaged(f"is damaged ({reason_of(error)})") from error
    check_size(width, height)
    orientation = jpeg_orientation(content)
    size = (width, height) if orientation > 4 else (height, width)
    return Jpeg(content, size, colorspace, orientation)


def read_jpeg(image: Jpeg, at_least: int = 0, reuse: bool = False) -> np.ndarray:
    """uint8[h, w, 1 or 3], upright; Damaged where libjpeg-turbo as much as warns.

    at_least: see `jaxcnn.data.decode.decode`.
    reuse: into the thread's memory for that, which its next call overwrites.
    """
    import simplejpeg

    height, width = image.size
    options: dict = {}
    if at_least and min(height, width) >= 2 * at_least:
        options = {"min_height": at_least, "min_width": at_least, "min_factor": 2}
    kind = {"Gray": "GRAY", "CMYK": "CMYK", "YCCK": "CMYK"}.get(image.colorspace, "RGB")
    if reuse and (size := height * width * len(kind)) <= _MOST_REUSED:
        options["buffer"] = _reused(size)
    try:
        pixels = simplejpeg.decode_jpeg(image.content, colorspace=kind, **options)
    except ValueError as error:
        raise Damaged(f"is damaged ({reason_of(error)})") from error
    if kind == "CMYK":  # inverted, as Adobe writes them: 255 is no ink, and CMY times K is RGB
        product = pixels[..., :3].astype(np.uint16) * pixels[..., 3:]
        pixels = ((product + 127) // 255).astype(np.uint8)
    pixels = upright(pixels, image.orientation)
    return _without_filling(pixels, image.size, at_least) if options else pixels


def _without_filling(pixels: np.ndarray, size: tuple[int, int], at_least: int) -> np.ndarray:
    """Pixels decoded at n/8 of their `size`, without a last row and column that are filled up for
    the most part: with them the image would be stretched.
    """
    eighths = 8 * min(pixels.shape[:2]) // min(size)
    height, width = (max(at_least, round(side * eighths / 8)) for side in size)
    return pixels[:height, :width]


def own_copy(image: np.ndarray) -> np.ndarray:
    """The image, copied if it lies in memory that the thread's next `read_jpeg` overwrites."""
    memory = getattr(_memory, "array", None)
    return image if memory is None or not np.may_share_memory(image, memory) else image.copy()


def _reused(size: int) -> np.ndarray:
    memory = getattr(_memory, "array", None)
    if memory is None or len(memory) < size:
        memory = _memory.array = np.empty(size, np.uint8)
    return memory
