"""Damage that decoders pass over: files whose size disagrees with what they say of themselves.

Most libraries decode a shortened or stretched file without a word, in wrong colours or with a grey
rest. Each check raises ValueError with the reason.
"""

import struct
import zlib
from collections.abc import Callable

# Pillow's own limit for what may be a decompression bomb: half a gigabyte of RGB.
MAX_PIXELS = 178_956_970


def check_size(width: int, height: int) -> None:
    """Refuses images whose pixels would fill the memory, before anything is decoded."""
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"promises {width}x{height} pixels; more than {MAX_PIXELS / 1e6:.0f} million are "
            "refused, as they may be a decompression bomb"
        )
    if width * height == 0:
        raise ValueError(f"promises {width}x{height} pixels")


def check_png(content: bytes) -> None:
    """Every chunk of a PNG whole and with the right checksum, up to the end mark."""
    place = 8
    while place < len(content):
        if place + 12 > len(content):
            break
        length, kind = struct.unpack_from(">I4s", content, place)
        end = place + 12 + length
        if end > len(content):
            break
        if kind[:1].isupper():  # a chunk that pixels depend on
            (checksum,) = struct.unpack_from(">I", content, end - 4)
            if zlib.crc32(content[place + 4 : end - 4]) != checksum:
                raise ValueError(f"is damaged (checksum of its {kind.decode('latin1')} chunk)")
        if kind == b"IEND":
            return
        place = end
    raise ValueError("is cut short")


def check_jpeg(content: bytes) -> None:
    """A JPEG has its end mark; whoever adds bytes adds them after it."""
    if content.rfind(b"\xff\xd9") < 0:
        raise ValueError("is cut short")


def check_bmp(content: bytes) -> None:
    """An uncompressed BMP has as many bytes as its rows take."""
    if len(content) < 34:
        raise ValueError("is cut short")
    start, header = struct.unpack_from("<II", content, 10)
    if header < 40:
        return
    width, height, _, bits, compression = struct.unpack_from("<iiHHI", content, 18)
    row = (abs(width) * bits + 31) // 32 * 4
    if compression in (0, 3) and start + row * abs(height) > len(content):
        raise ValueError("is cut short")


def check_gif(content: bytes) -> None:
    """A GIF ends in its trailer."""
    if not content.rstrip(b"\0").endswith(b";"):
        raise ValueError("is cut short")


def check_webp(content: bytes) -> None:
    """A WebP has as many bytes as its container says."""
    (length,) = struct.unpack_from("<I", content, 4)
    if len(content) < 8 + length:
        raise ValueError("is cut short")


SIGNATURES: dict[str, Callable[[bytes], bool]] = {
    "jpeg": lambda head: head.startswith(b"\xff\xd8\xff"),
    "png": lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    "bmp": lambda head: head.startswith(b"BM"),
    "gif": lambda head: head.startswith((b"GIF87a", b"GIF89a")),
    "webp": lambda head: head[:4] == b"RIFF" and head[8:12] == b"WEBP",
    "tiff": lambda head: head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "pnm": lambda head: head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace(),
    "dicom": lambda head: head[128:132] == b"DICM",
}

CHECKS: dict[str, Callable[[bytes], None]] = {
    "jpeg": check_jpeg,
    "png": check_png,
    "bmp": check_bmp,
    "gif": check_gif,
    "webp": check_webp,
}


def format_of(content: bytes) -> str:
    """The name of a file's format, by its first bytes; ValueError for a file that is no image."""
    if not content:
        raise ValueError("is empty (0 bytes)")
    head = content[:132]
    for name, matches in SIGNATURES.items():
        if matches(head):
            return name
    raise ValueError("is not an image (no format jaxcnn knows)")


def check_content(content: bytes) -> str:
    """The name of a file's format, after its check; ValueError with what is wrong."""
    name = format_of(content)
    if name in CHECKS:
        CHECKS[name](content)
    return name
