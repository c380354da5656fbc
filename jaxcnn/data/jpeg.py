"""JPEG, the format that must be fast: libjpeg-turbo, strict, at a smaller scale where that will do.

The pixels are those of OpenCV; but damage that OpenCV prints to stderr and passes over is refused,
and decoding into memory that is used again takes 0.60 ms instead of 0.94 (500x375 pixels): the rest
were page faults.
"""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.data.damage import Damaged, check_size, jpeg_segments, reason_of
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

    content, (height, width, colorspace, _) = _without_flaws(content, simplejpeg.decode_jpeg_header)
    check_size(width, height)
    orientation = jpeg_orientation(content)
    size = (width, height) if orientation > 4 else (height, width)
    return Jpeg(content, size, colorspace, orientation)


def read_jpeg(image: Jpeg, at_least: int = 0, reuse: bool = False) -> np.ndarray:
    """uint8[h, w, 1 or 3], upright; Damaged where libjpeg-turbo as much as warns of a pixel.

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
    decode = partial(simplejpeg.decode_jpeg, colorspace=kind, **options)
    _, pixels = _without_flaws(image.content, decode)
    if kind == "CMYK":  # inverted, as Adobe writes them: 255 is no ink, and CMY times K is RGB
        product = pixels[..., :3].astype(np.uint16) * pixels[..., 3:]
        pixels = ((product + 127) // 255).astype(np.uint8)
    pixels = upright(pixels, image.orientation)
    return _without_filling(pixels, image.size, at_least) if options else pixels


def _without_flaws(content: bytes, read: Callable[[bytes], Any]) -> tuple[bytes, Any]:
    """(content, read(content)), where flaws in what is around the pixels are mended of which
    libjpeg-turbo warns. It tells its first warning only: after each mending it reads all again, and
    what is wrong with a pixel is not missed. Raises Damaged.
    """
    while True:
        try:
            return content, read(content)
        except ValueError as error:
            reason = reason_of(error)
            mend = next((mend for flaw, mend in _FLAWS.items() if flaw in reason), bytes)
            mended = mend(content)
            if mended == content or len(mended) > len(content):
                raise Damaged(f"is damaged ({reason})") from error
            content = mended


def _with_sequential_scans(content: bytes) -> bytes:
    """Baseline scans say the only thing that they can: all coefficients, at once."""
    mended = bytearray(content)
    for marker, place in jpeg_segments(content, scans=True):
        end = place + int.from_bytes(content[place : place + 2], "big")
        if marker == 0xDA and end <= len(content):
            mended[end - 3 : end] = b"\0\x3f\0"
    return bytes(mended)


def _with_known_revision(content: bytes) -> bytes:
    place = content.find(b"JFIF\0") + 5
    return content[:place] + b"\1\1" + content[place + 2 :]


def _without_profile(content: bytes) -> bytes:
    """The colours are not managed: an ICC profile that is not whole does no harm."""
    kept, start = [], 0
    for marker, place in jpeg_segments(content):
        if marker == 0xE2 and content.startswith(b"ICC_PROFILE\0", place + 2):
            kept.append(content[start : place - 2])
            start = place + int.from_bytes(content[place : place + 2], "big")
    return b"".join([*kept, content[start:]])


# Of libjpeg-turbo's warnings, those that no pixel depends on, and what mends the flaw.
_FLAWS: dict[str, Callable[[bytes], bytes]] = {
    "Invalid SOS parameters": _with_sequential_scans,
    "unknown JFIF revision": _with_known_revision,
    "bad ICC marker": _without_profile,
}


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
