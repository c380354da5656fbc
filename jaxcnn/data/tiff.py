"""TIFF: what its directory says, so that 16 bits stay 16 bits and damage shows."""

import struct
from collections.abc import Callable

import numpy as np

from jaxcnn.data.damage import Damaged, check_size
from jaxcnn.data.opencv import read_opencv

# Tag numbers and values of TIFF 6.0.
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_SAMPLES, _PLANAR = 277, 284
_STRIPS, _TILES = (273, 279), (324, 325)  # places, numbers of bytes
_WHOLE = {1: "B", 3: "H", 4: "I", 16: "Q"}  # the types of whole numbers
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _LAB = 0, 1, 2, (8, 9, 10)


def read_tiff(
    content: bytes, read_8_bits: Callable[[bytes], np.ndarray]
) -> tuple[np.ndarray, float, float]:
    """The first page as [h, w, c], upright, and the values of black and white; NaN where the file
    declares none, as with floats.

    read_8_bits: decodes what has no more than 8 bits a colour.
    """
    tags = _directory(content)
    width, height = _first(tags, _WIDTH, 0), _first(tags, _HEIGHT, 0)
    bits = tags.get(_BITS, (1,))
    samples, photometric = _first(tags, _SAMPLES, 1), _first(tags, _PHOTOMETRIC, _BLACK_IS_ZERO)
    check_size(width, height)
    _check_data(content, tags, width * height * sum(bits[:samples]) // 8)
    if photometric in _LAB:
        raise Damaged("has CIE L*a*b* colours, which jaxcnn does not read; convert it to RGB")
    if max(bits) <= 8 or photometric not in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB):
        return read_8_bits(content), 0, 255
    depth = bits[0]
    pixels = read_opencv(content)
    expected = {16: "uif", 32: "uif", 64: "f"}.get(8 * pixels.itemsize, "")
    if (
        sorted(pixels.shape[:2]) != sorted((height, width))
        or pixels.shape[2] != samples
        or pixels.dtype.kind not in expected
        or depth > 8 * pixels.itemsize
        or set(bits) != {depth}
        or _first(tags, _PLANAR, 1) != 1
    ):
        raise Damaged(f"is a TIFF of {samples} x {depth} bits, of a kind jaxcnn does not read")
    if pixels.dtype != np.uint16:
        return pixels, np.nan, np.nan
    pixels = pixels >> (16 - depth)  # OpenCV fills 10, 12 and 14 bits up to 16
    high = 2**depth - 1
    return (pixels, high, 0) if photometric == _WHITE_IS_ZERO else (pixels, 0, high)


def _directory(content: bytes) -> dict[int, tuple[int, ...]]:
    """The tags of the first page that are whole numbers. (Pillow warns where this refuses.)"""
    order = "<" if content[:2] == b"II" else ">"
    big = 43 in content[2:4]  # BigTIFF: places of 8 bytes
    place, number, count, entry = ("Q", 8, "Q", 20) if big else ("I", 4, "H", 12)
    try:
        (start,) = struct.unpack_from(order + place, content, number)
        (entries,) = struct.unpack_from(order + count, content, start)
        start += struct.calcsize(order + count)
        tags = {}
        for at in range(start, start + entry * entries, entry):
            tag, kind, n = struct.unpack_from(f"{order}HH{place}", content, at)
            if kind not in _WHOLE:
                struct.unpack_from(f"{entry}x", content, at)
                continue
            values, inside = f"{order}{n}{_WHOLE[kind]}", at + 4 + number
            if struct.calcsize(values) > number:
                (inside,) = struct.unpack_from(order + place, content, inside)
            if struct.calcsize(values) > len(content) - inside:
                raise Damaged("is cut short")
            tags[tag] = struct.unpack_from(values, content, inside)
        struct.unpack_from(order + place, content, start + entry * entries)  # the next page's place
    except struct.error as error:
        raise Damaged("is cut short") from error
    return tags


def _check_data(content: bytes, tags: dict[int, tuple[int, ...]], promised: int) -> None:
    """Every strip or tile lies inside the file, and together they hold enough."""
    place, size = _TILES if _TILES[0] in tags else _STRIPS
    places, lengths = tags.get(place, ()), tags.get(size, ())
    ends = [start + length for start, length in zip(places, lengths, strict=False)]
    if max(ends, default=0) > len(content):
        raise Damaged("is cut short")
    exact = _first(tags, _COMPRESSION, 1) == 1 and _first(tags, _PHOTOMETRIC, 0) in (0, 1, 2, 3, 5)
    if exact and lengths and sum(lengths) < promised:
        raise Damaged(f"has {sum(lengths)} bytes of pixels where its header promises {promised}")


def _first(tags: dict[int, tuple[int, ...]], tag: int, default: int) -> int:
    return (tags.get(tag) or (default,))[0]
