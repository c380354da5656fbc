"""Damage that decoders pass over: files whose size disagrees with what they say of themselves.

Most libraries decode a shortened or stretched file without a word, in wrong colours or with a grey
rest. Each check raises Damaged with the reason.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from jaxcnn.data.kinds import HEAD, kind_of, other_kind

# Pillow's own limit for what may be a decompression bomb: half a gigabyte of RGB.
MAX_PIXELS = 178_956_970
_most_pixels = ContextVar("most_pixels", default=MAX_PIXELS)

# More than any photograph or drawing needs; a WebP of 3 kB may promise a canvas of any size.
_MAX_PIXELS_PER_BYTE = 1_000
_UNSUSPICIOUS = 2**24

# Progressive JPEGs have about ten scans; thousands of empty ones keep a decoder busy for hours.
_MAX_SCANS = 1000

_CUT = "is cut short"


class Damaged(ValueError):
    """Why a file cannot be used, in words that continue its name: "is cut short"."""


def reason_of(error: Exception) -> str:
    """What a library's error says, short and on one line."""
    return " ".join(str(error).split())[:150] or type(error).__name__


@contextmanager
def pixel_limit(pixels: int) -> Iterator[None]:
    """Within, in this thread, images of more pixels are refused: for a server, whose memory others
    fill.
    """
    token = _most_pixels.set(min(pixels, MAX_PIXELS))
    try:
        yield
    finally:
        _most_pixels.reset(token)


def check_size(width: int, height: int, length: int | None = None) -> None:
    """Refuses images whose pixels would fill the memory, before anything is decoded.

    length: bytes of the file, where it may be far too short for so many pixels.
    """
    if length is not None and width * height > max(_UNSUSPICIOUS, _MAX_PIXELS_PER_BYTE * length):
        raise Damaged(
            f"promises {width}x{height} pixels in {length} bytes, and may be a decompression bomb"
        )
    if width * height > (most := _most_pixels.get()):
        raise Damaged(
            f"promises {width}x{height} pixels; more than {most / 1e6:.3g} million are "
            "refused, as they may be a decompression bomb"
        )
    if width * height == 0:
        raise Damaged(f"promises {width}x{height} pixels")


def png_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, where its data begin, where they end) of each chunk of a PNG, up to the end mark."""
    place = 8
    while place + 12 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 8 + length
        if end + 4 > len(content):
            break
        yield kind, place + 8, end
        if kind == b"IEND":
            return
        place = end + 4
    raise Damaged(_CUT)


def check_png(content: bytes) -> None:
    """Every chunk of a PNG whole and with the right checksum, up to the end mark."""
    for kind, start, end in png_chunks(content):
        (checksum,) = struct.unpack_from(">I", content, end)
        if zlib.crc32(content[start - 4 : end]) != checksum:
            raise Damaged(f"is damaged (checksum of its {_printable(kind)} chunk)")


def check_jpeg(content: bytes) -> None:
    """A JPEG has its end mark; whoever adds bytes adds them after it."""
    if content.rfind(b"\xff\xd9") < 0:
        raise Damaged(_CUT)
    if _is_one_scan(content):
        return  # the usual case, known without reading all of it
    if (scans := content.count(b"\xff\xda")) > _MAX_SCANS:
        raise Damaged(f"has {scans} scans, and more than {_MAX_SCANS} may be a bomb")


# A marker behind the pixels of a scan: in them 0xff is followed by 0, or restarts.
_MARKER = re.compile(rb"\xff[^\0\xd0-\xd7\xff]")


def jpeg_segments(content: bytes, scans: bool = False) -> Iterator[tuple[int, int]]:
    """(marker, place of its length) of a JPEG's segments, up to the first scan, or to the end."""
    place = 2
    while place + 4 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        yield marker, place + 2
        if marker == 0xDA and not scans:
            return
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        if marker == 0xDA and (after := _MARKER.search(content, place)) is not None:
            place = after.start()


def _is_one_scan(content: bytes) -> bool:
    """Whether a baseline JPEG's first scan holds all its components."""
    components = 0
    for marker, place in jpeg_segments(content):
        if marker in (0xC0, 0xC1) and place + 7 < len(content):
            components = content[place + 7]
        if marker == 0xDA and place + 2 < len(content):
            return 0 < components == content[place + 2]
    return False


def check_bmp(content: bytes) -> None:
    """An uncompressed BMP has as many bytes as its rows take, and no more than it says."""
    if len(content) < 34:
        raise Damaged(_CUT)
    size, start, header = struct.unpack_from("<I4xII", content, 2)
    if header < 40:  # of OS/2: 16 bits, never compressed
        width, height, _, bits = struct.unpack_from("<HHHH", content, 18)
        compression = 0
    else:
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", content, 18)
    check_size(abs(width), abs(height))
    if compression not in (0, 3, 6):  # run-length coded
        if size > len(content):
            raise Damaged(_CUT)
        return
    end = start + (abs(width) * bits + 31) // 32 * 4 * abs(height)
    if end > len(content):
        raise Damaged(_CUT)
    if end <= size <= end + 3:  # programs write nonsense as the size
        check_rest(content, size)


def check_gif(content: bytes) -> None:
    """The blocks of a GIF follow one another, with an image among them, up to its end mark."""
    place, images = 13 + _colours(content, 10), 0
    check_size(*struct.unpack_from("<HH", content, 6))
    while (kind := content[place : place + 1]) != b";":
        if kind == b"!":  # an extension
            place = _after_blocks(content, place + 2)
        elif kind == b",":
            place = _after_blocks(content, place + 10 + _colours(content, place + 9) + 1)
            images += 1
        else:
            raise Damaged("is damaged (its blocks do not follow one another)" if kind else _CUT)
    if not images:
        raise Damaged("holds no image")


def _colours(content: bytes, flags: int) -> int:
    """Bytes of the colour table that flags announce."""
    if flags >= len(content):
        raise Damaged(_CUT)
    return 3 << (content[flags] & 7) + 1 if content[flags] & 0x80 else 0


def _after_blocks(content: bytes, place: int) -> int:
    """The place after blocks of 1 to 255 bytes and the empty one that ends them."""
    while place < len(content):
        length = content[place]
        place += length + 1
        if not length:
            return place
    raise Damaged(_CUT)


def check_webp(content: bytes) -> None:
    """A WebP has as many bytes as its container says, and a size that fits in memory."""
    if len(content) < 30:
        raise Damaged(_CUT)
    (length,) = struct.unpack_from("<I", content, 4)
    if len(content) < 8 + length:
        raise Damaged(_CUT)
    check_rest(content, 8 + length)
    kind = content[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(content[i : i + 3], "little") + 1 for i in (24, 27))
    elif kind == b"VP8L":
        packed = int.from_bytes(content[21:25], "little")
        width, height = (packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1
    else:
        width, height = (n & 0x3FFF for n in struct.unpack_from("<HH", content, 26))
    check_size(width, height, len(content))


def check_boxes(content: bytes) -> None:
    """The boxes of a HEIC or AVIF (ISO/IEC 14496-12) are whole, up to that with the pixels."""
    place = 0
    seen: set[bytes] = set()
    while place + 8 <= len(content) and not {b"meta", b"mdat"} <= seen:
        size, kind = struct.unpack_from(">I4s", content, place)
        if size == 1 and place + 16 <= len(content):
            (size,) = struct.unpack_from(">Q", content, place + 8)
        seen.add(kind)
        place = place + max(size, 8) if size else len(content)
    if place > len(content) or not {b"meta", b"mdat"} <= seen:
        raise Damaged(_CUT)


def check_rest(content: bytes, end: int) -> None:
    """Bytes behind an image's `end` do no harm, but those that a conversion of line endings has
    pushed there: then no line feed of the file stands alone.
    """
    inside = len(content) > end and content.count(b"\r\n", 0, end + 1)
    if inside and content.count(b"\n") == content.count(b"\r\n"):
        raise Damaged(
            f"has {len(content)} bytes where its header promises {end} (changed by a line-ending "
            "conversion?)"
        )


def _printable(kind: bytes) -> str:
    return kind.decode("latin1") if kind.isalpha() else kind.hex()


CHECKS: dict[str, Callable[[bytes], None]] = {
    "jpeg": check_jpeg,
    "png": check_png,
    "bmp": check_bmp,
    "gif": check_gif,
    "webp": check_webp,
    "heic": check_boxes,
    "avif": check_boxes,
}


def format_of(content: bytes) -> str:
    """The name of a file's format, by its first bytes; Damaged for a file that is no image."""
    if not content:
        raise Damaged("is empty (0 bytes)")
    head = content[:HEAD]
    if (name := kind_of(head)) is not None:
        return name
    if (other := other_kind(head)) is not None:
        raise Damaged(f"is {other}, which is not read")
    raise Damaged("is not an image (no format jaxcnn knows)")


def check_content(content: bytes) -> str:
    """The name of a file's format, after its check; Damaged with what is wrong."""
    name = format_of(content)
    if name in CHECKS:
        CHECKS[name](content)
    return name
