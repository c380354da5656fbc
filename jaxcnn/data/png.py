"""PNG: colour, grey, palette, alpha, 1 to 16 bits, all of which OpenCV keeps, unlike Pillow."""

import struct

import numpy as np

from jaxcnn.data.damage import Damaged, check_size, png_chunks
from jaxcnn.data.opencv import read_opencv
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
