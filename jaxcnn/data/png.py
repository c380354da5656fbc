"""PNG: colour, grey, palette, alpha, 1 to 16 bits, all of which OpenCV keeps, unlike Pillow.

`read_opencv` serves `jaxcnn.data.tiff` too.
"""

import os
import struct
from functools import cache

import numpy as np

from jaxcnn.data.damage import Damaged, check_size, png_chunks
from jaxcnn.data.orientation import exif_orientation, upright


def read_png(content: bytes) -> np.ndarray:
    """uint8 or uint16 [h, w, 1 grey, 2 with alpha, 3 RGB, 4 with alpha], upright."""
    chunks = {
        kind: content[start:end]
        for kind, start, end in png_chunks(content)
        if kind in (b"IHDR", b"tRNS", b"eXIf")
    }
    if len(chunks.get(b"IHDR", b"")) != 13:
        raise Damaged("has a damaged header")
    width, height, bits, colour_type = struct.unpack_from(">IIBB", chunks[b"IHDR"])
    check_size(width, height)
    pixels = read_opencv(content)
    if colour_type == 4:  # grey with alpha, which OpenCV makes RGBA
        pixels = pixels[..., [0, 3]]
    if colour_type == 0 and len(chunks.get(b"tRNS", b"")) == 2:  # which OpenCV ignores
        (transparent,) = struct.unpack(">H", chunks[b"tRNS"])
        if bits < 8:  # OpenCV has stretched them to 0..255
            transparent = transparent * 255 // (2**bits - 1)
        opaque = np.iinfo(pixels.dtype).max * (pixels != transparent)
        pixels = np.concatenate([pixels, opaque.astype(pixels.dtype)], axis=-1)
    return upright(pixels, exif_orientation(chunks[b"eXIf"]) if b"eXIf" in chunks else 1)


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
