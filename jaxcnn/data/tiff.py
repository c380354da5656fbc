"""TIFF: what its directory says, so that 16 bits stay 16 bits and damage shows."""

import struct
from collections.abc import Callable

import numpy as np

from jaxcnn.data.damage import Damaged, check_rest, check_size
from jaxcnn.data.png import read_opencv

# Tag numbers and values of TIFF 6.0.
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_SAMPLES, _PLANAR, _EXTRA = 277, 284, 338
_STRIPS, _TILES = (273, 279), (324, 325)  # places, numbers of bytes
_WHOLE = {1: "B", 3: "H", 4: "I", 16: "Q"}  # the types of whole numbers
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4,
          16: 8, 17: 8, 18: 8}  # fmt: skip
_NESTED = {330, 400, 34665, 34853, 40965}  # directories of their own, EXIF's for example
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _LAB = 0, 1, 2, (8, 9, 10)


def read_tiff(
    content: bytes, read_8_bits: Callable[[bytes], np.ndarray]
) -> tuple[np.ndarray, float, float]:
    """The first page as [h, w, c], upright, and the values of black and white; NaN where the file
    declares none, as with floats.

    read_8_bits: decodes what has no more than 8 bits a colour.
    """
    tags, end = _directory(content)
    width, height = _first(tags, _WIDTH, 0), _first(tags, _HEIGHT, 0)
    bits = tags.get(_BITS, (1,))
    samples, photometric = _first(tags, _SAMPLES, 1), _first(tags, _PHOTOMETRIC, _BLACK_IS_ZERO)
    check_size(width, height)
    _check_data(content, tags, end, width * height * sum(bits[:samples]) // 8)
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
    if samples == 4 and tags.get(_EXTRA) == (0,):  # a fourth band that is no alpha, says the file
        pixels = np.ascontiguousarray(pixels[..., :3])
    pixels = pixels >> (16 - depth)  # OpenCV fills 10, 12 and 14 bits up to 16
    high = 2**depth - 1
    return (pixels, high, 0) if photometric == _WHITE_IS_ZERO else (pixels, 0, high)


def bits_of(content: bytes) -> int:
    """Bits of a colour, by the directory of the first page; Damaged where it cannot be read."""
    return max(_directory(content)[0].get(_BITS, (1,)))


def _directory(content: bytes) -> tuple[dict[int, tuple[int, ...]], int]:
    """The tags of the first page that are whole numbers, and where in the file its last byte but
    for the pixels ends; or where the file ends, if there are more pages or nested directories.
    """
    order = "<" if content[:2] == b"II" else ">"
    big = 43 in content[2:4]  # BigTIFF: places of 8 bytes
    place, number, count, entry = ("Q", 8, "Q", 20) if big else ("I", 4, "H", 12)
    tags = {}
    try:
        (start,) = struct.unpack_from(order + place, content, number)
        (entries,) = struct.unpack_from(order + count, content, start)
        start += struct.calcsize(order + count)
        end = start + entry * entries + number
        (following,) = struct.unpack_from(order + place, content, end - number)
        for at in range(start, end - number, entry):
            tag, kind, n = struct.unpack_from(f"{order}HH{place}", content, at)
            size, inside = n * _SIZES.get(kind, 1), at + 4 + number
            if size > number:
                (inside,) = struct.unpack_from(order + place, content, inside)
                end = max(end, inside + size)
            if inside + size > len(content):
                raise Damaged("is cut short")
            if kind in _WHOLE:
                tags[tag] = struct.unpack_from(f"{order}{n}{_WHOLE[kind]}", content, inside)
    except struct.error as error:
        raise Damaged("is cut short") from error
    return tags, len(content) if following or _NESTED & tags.keys() else end


def _check_data(content: bytes, tags: dict[int, tuple[int, ...]], end: int, promised: int) -> None:
    """Every strip or tile lies inside the file, and together they hold enough.

    end: of all the rest.
    """
    place, size = _TILES if _TILES[0] in tags else _STRIPS
    places, lengths = tags.get(place, ()), tags.get(size, ())
    end = max([end, *(start + length for start, length in zip(places, lengths, strict=False))])
    if end > len(content):
        raise Damaged("is cut short")
    if lengths and end + end % 2 < len(content):  # the end may be made even
        check_rest(content, end)
    exact = _first(tags, _COMPRESSION, 1) == 1 and _first(tags, _PHOTOMETRIC, 0) in (0, 1, 2, 3, 5)
    if exact and lengths and sum(lengths) < promised:
        raise Damaged(f"has {sum(lengths)} bytes of pixels where its header promises {promised}")


def _first(tags: dict[int, tuple[int, ...]], tag: int, default: int) -> int:
    return (tags.get(tag) or (default,))[0]
