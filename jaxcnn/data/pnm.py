"""PBM, PGM and PPM (Netpbm), whose size follows from the header: damage shows."""

import re

import numpy as np

from jaxcnn.data.damage import Damaged, check_size

_GAP = rb"(?:\s|#[^\n]*\n)+"


def read_pnm(content: bytes) -> tuple[np.ndarray, float, float]:
    """[h, w, 1 or 3], and the values of black and white.

    There must be exactly the pixels that the header promises, none above its maximum; one line
    break may follow.
    """
    kind = int(content[1:2])
    bitmap, plain = kind in (1, 4), kind < 4
    numbers = (_GAP + rb"(\d{1,9})") * (2 if bitmap else 3)
    header = re.match(rb"P\d" + numbers + (rb"(?=\s)" if plain else rb"\s"), content[:10_000])
    if header is None:
        raise Damaged("has a damaged header")
    width, height = int(header[1]), int(header[2])
    high = 1 if bitmap else int(header[3])
    check_size(width, height)
    if not 0 < high < 65536:
        raise Damaged(f"has a damaged header (maximum {high}; expected 1 to 65535)")
    shape = height, width, 3 if kind in (3, 6) else 1
    data = content[header.end() :]
    pixels = _plain(data, shape, bitmap) if plain else _binary(data, shape, bitmap, high)
    if pixels.max() > high:
        raise Damaged(f"has values up to {pixels.max()} where its header promises at most {high}")
    pixels = pixels.astype(np.uint8 if high < 256 else np.uint16, copy=False)
    return (pixels, 1, 0) if bitmap else (pixels, 0, high)  # in bitmaps 1 is black


def _binary(data: bytes, shape: tuple[int, int, int], bitmap: bool, high: int) -> np.ndarray:
    height, width, channels = shape
    # Bits come in rows of whole bytes; values above 255 take two.
    row = -(-width // 8) if bitmap else width * channels * (2 if high > 255 else 1)
    # Not the end of what a conversion of line endings has stretched.
    converted = data[:1] == b"\n" or data[row * height - 1 :] == b"\r\n"
    if data[row * height :] in (b"\n", b"\r\n") and not converted:
        data = data[: row * height]
    _check_count(len(data), row * height, "bytes")
    if bitmap:
        bits = np.unpackbits(np.frombuffer(data, np.uint8).reshape(height, row), axis=1)
        return bits[:, :width, None]
    return np.frombuffer(data, np.uint8 if high < 256 else ">u2").reshape(shape)


def _plain(data: bytes, shape: tuple[int, int, int], bitmap: bool) -> np.ndarray:
    """Decimal numbers with space between them; in bitmaps digits, where it may be missing."""
    data = re.sub(rb"#[^\n]*", b"", data)
    words = [bytes([digit]) for digit in b"".join(data.split())] if bitmap else data.split()
    _check_count(len(words), shape[0] * shape[1] * shape[2], "numbers")
    if not all(word.isdigit() and len(word) <= 9 for word in words):
        raise Damaged("has damaged pixels (expected decimal numbers)")
    return np.array([int(word) for word in words], np.int32).reshape(shape)


def _check_count(actual: int, promised: int, what: str) -> None:
    if actual != promised:
        raise Damaged(
            f"has {actual} {what} of pixels where its header promises {promised} (changed by a "
            "line-ending conversion?)"
        )
