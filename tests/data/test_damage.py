"""Broken files are refused with a reason, and never fill the memory."""

import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest

from jaxcnn.data.damage import Damaged
from jaxcnn.data.decode import Decoding, decode, open_image
from tests.images import bmp, chunk, examples, noise, photo, saved, tiff

EXAMPLES = examples()
KEEP = Decoding()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_truncated_file_is_refused_wherever_it_ends(name):
    content = EXAMPLES[name]
    whole = decode(content, KEEP)
    for end in np.unique(np.linspace(0, len(content) - 1, 60).astype(int)):
        try:
            image = decode(content[:end], KEEP)
        except Damaged as error:
            assert str(error)
        else:
            # Only bytes that no pixel depends on may be missing.
            assert len(content) - end <= 2
            assert name.startswith("webp")
            np.testing.assert_array_equal(image, whole)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_file_changed_by_a_line_ending_conversion_is_refused_or_unchanged(name):
    content = EXAMPLES[name]
    for old, new in ((b"\n", b"\r\n"), (b"\r\n", b"\n")):
        changed = content.replace(old, new)
        if changed == content:
            continue
        with pytest.raises(Damaged):
            decode(changed, KEEP)


@pytest.mark.parametrize("kind", [5, 6])
def test_a_netpbm_file_with_other_line_endings_is_told_as_such(kind):
    pixels = np.arange(10 * 12 * (3 if kind == 6 else 1)) % 251
    content = b"P%d\n12 10\n255\n" % kind + pixels.astype(np.uint8).tobytes()
    with pytest.raises(Damaged, match=r"has \d+ bytes of pixels where its header promises \d+ "):
        decode(content.replace(b"\n", b"\r\n"), KEEP)
    content = b"P%d\n12 10\n255\n" % kind + (pixels // 2 * 0 + 13).astype(np.uint8).tobytes()
    content = content[:-2] + b"\r\n"
    with pytest.raises(Damaged, match=r"changed by a line-ending conversion\?"):
        decode(content.replace(b"\r\n", b"\n"), KEEP)


HUGE = 60_000
GIGAPIXELS = {
    "png": b"\x89PNG\r\n\x1a\n"
    + chunk(b"IHDR", struct.pack(">IIBBBBB", HUGE, HUGE, 8, 2, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(bytes(1000)))
    + chunk(b"IEND"),
    "ppm": b"P6 60000 60000 255\n" + bytes(1000),
    "plain pgm": b"P2 60000 60000 255\n" + b"0 " * 1000,
    "bmp": bmp(HUGE, HUGE, 24, bytes(1000)),
    "run-length bmp": bmp(HUGE, HUGE, 8, bytes(1000), colours=bytes(1024), compression=1),
    "tiff": tiff((HUGE, HUGE), (8, 8, 8), 2, bytes(1000)),
    "tiff of doubles": tiff((HUGE, HUGE), (64,), 1, bytes(1000), t339=3),
    "compressed tiff": tiff((HUGE, HUGE), (16,) * 4, 2, zlib.compress(bytes(1000)), t259=8),
}


def patched(content, mark, values):
    place = content.index(mark) + len(mark)
    return content[:place] + values + content[place + len(values) :]


SIZE = struct.pack(">HH", HUGE, HUGE)
GIGAPIXELS["jpeg"] = patched(saved(photo(), "JPEG"), b"\xff\xc0\x00\x11\x08", SIZE)
GIGAPIXELS["progressive jpeg"] = patched(
    saved(photo(), "JPEG", progressive=True),
    b"\xff\xc2\x00\x11\x08",
    struct.pack(">HH", HUGE, HUGE),
)
GIGAPIXELS["gif"] = patched(
    saved(photo()[..., :1], "GIF"), b"GIF87a", struct.pack("<HH", HUGE, HUGE)
)
GIGAPIXELS["webp"] = patched(
    saved(noise(8, 8, 4), "WEBP", lossless=True, exact=True, icc_profile=b"x" * 9),
    b"VP8X\n\0\0\0\x30\0\0\0",
    b"\xff\xff\x00\xff\xff\x00",
)


@pytest.mark.parametrize("name", GIGAPIXELS)
def test_a_header_that_promises_a_gigapixel_allocates_nothing(name):
    content = GIGAPIXELS[name]
    with memory_limit(500e6):
        tracemalloc.start()
        with pytest.raises(Damaged) as caught:
            decode(content, KEEP)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 5e6
    assert "promises" in str(caught.value) or "is cut short" in str(caught.value)
    if name.endswith("jpeg"):
        with pytest.raises(Damaged, match="promises 60000x60000 pixels; more than 179 million"):
            open_image(content)


class memory_limit:  # noqa: N801 - used like a function
    """Lets this process map no more than so many bytes in addition to what it has."""

    def __init__(self, extra):
        self.extra = int(extra)

    def __enter__(self):
        resource = pytest.importorskip("resource")
        with open("/proc/self/statm") as file:  # noqa: PTH123
            mapped = int(file.read().split()[0]) * resource.getpagesize()
        self.before = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (mapped + self.extra, self.before[1]))

    def __exit__(self, *error):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, self.before)


JPEG = EXAMPLES["jpeg"]
SCAN = b"\xff\xda\x00\x0c\x03\x01\x00\x02\x11\x03\x11\x00\x3f\x00"
BROKEN = {
    "nothing": (b"", r"is empty \(0 bytes\)"),
    "text": (b"<html>404 Not Found</html>", "is a web page, which is not read"),
    "zeros": (bytes(5000), "is not an image"),
    "an image of no pixels": (b"P5 0 7 255\n", "promises 0x7 pixels"),
    "a pgm above its maximum": (b"P5 2 1 15\n\x0f\x10", "has values up to 16 where its header"),
    "a pgm without a maximum": (b"P5 2 1\n", "has a damaged header"),
    "a maximum too large": (b"P5 2 1 65536\nabcd", r"has a damaged header \(maximum 65536;"),
    "too few plain numbers": (b"P2 2 2 15\n1 2 3", "has 3 numbers of pixels where its header prom"),
    "no numbers": (b"P2 2 2 15\n1 2 x -1", "has damaged pixels"),
    "a number beyond all types": (b"P2 2 2 15\n1 2 3 " + b"9" * 50, "has damaged pixels"),
    "a png whose transparency is damaged": (
        EXAMPLES["png palette"].replace(b"tRNS\xff", b"tRNS\xfe"),
        r"is damaged \(checksum of its tRNS chunk\)",
    ),
    "a png without pixels": (
        EXAMPLES["png"][:33] + chunk(b"IEND"), "cannot be decoded",
    ),
    "a png that is only its end": (b"\x89PNG\r\n\x1a\n" + chunk(b"IEND"), "has a damaged header"),
    "a jpeg of thousands of scans": (
        JPEG[:-2] + SCAN * 2000 + b"\xff\xd9",
        r"is damaged \(Didn't expect more than one scan\)",
    ),
    "a jpeg with a hole": (JPEG[:-60] + JPEG[-30:], "is damaged"),
    "a cmyk jpeg with a hole": (
        EXAMPLES["jpeg cmyk"][:-60] + EXAMPLES["jpeg cmyk"][-30:], "is damaged",
    ),
    "a gif without an image": (EXAMPLES["gif"][:13] + b";", "is cut short"),
    "a converted webp": (EXAMPLES["webp lossless"].replace(b"\n", b"\r\n"), "its header promises"),
    "a converted bmp": (EXAMPLES["bmp"].replace(b"\n", b"\r\n"), "its header promises"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_refused_with_its_reason(name):
    content, reason = BROKEN[name]
    with pytest.raises(Damaged, match=reason):
        decode(content, KEEP)


@pytest.mark.parametrize("tail", [b"\0" * 100, b"\n", saved(photo(), "JPEG")])
@pytest.mark.parametrize(
    "name",
    ["jpeg", "jpeg progressive", "png", "gif", "bmp", "bmp palette", "webp", "webp lossless",
     "webp film", "tiff", "tiff lzw", "tiff deflate", "tiff 16 bits", "dicom"],
)  # fmt: skip
def test_what_stands_after_the_end_mark_does_no_harm(name, tail):
    """Cameras and phones write more there: a second picture, a film."""
    whole = decode(EXAMPLES[name], KEEP)
    np.testing.assert_array_equal(decode(EXAMPLES[name] + tail, KEEP), whole)


@pytest.mark.parametrize("tail", [b"\n", b"\r\n"])
@pytest.mark.parametrize("name", ["ppm", "pgm 16 bits", "pbm"])
def test_a_line_break_may_follow_the_pixels_of_netpbm(name, tail):
    whole = decode(EXAMPLES[name], KEEP)
    np.testing.assert_array_equal(decode(EXAMPLES[name] + tail, KEEP), whole)
    for more in (b" ", tail + tail, tail + b"x"):
        with pytest.raises(Damaged, match="of pixels where its header promises"):
            decode(EXAMPLES[name] + more, KEEP)


def segment(marker, data):
    return bytes([0xFF, marker]) + struct.pack(">H", len(data) + 2) + data


def scan_parameters(content, values):
    """A JPEG whose scans say something else of the coefficients in them."""
    parts, start = [], 0
    while (place := content.find(b"\xff\xda", start)) >= 0:
        end = place + 2 + int.from_bytes(content[place + 2 : place + 4], "big")
        parts.append(content[start : end - 3] + values)
        start = end
    return b"".join([*parts, content[start:]])


SMOOTH = saved(photo(), "JPEG", quality=90, icc_profile=b"colours" * 20)
FLAWS = {
    "a scan of a selfie": scan_parameters(SMOOTH, b"\0\0\0"),
    "a scan of coefficients 1 to 63": scan_parameters(SMOOTH, b"\1\x3f\0"),
    "a grey scan": scan_parameters(saved(photo()[..., :1], "JPEG"), b"\0\x3f\1"),
    "a scan in CMYK": scan_parameters(EXAMPLES["jpeg cmyk"], b"\0\0\0"),
    "JFIF 2.1": SMOOTH.replace(b"JFIF\0\1\1", b"JFIF\0\2\1"),
    "JFIF 255.255": SMOOTH.replace(b"JFIF\0\1\1", b"JFIF\0\xff\xff"),
    "a profile without its second half": SMOOTH.replace(b"PROFILE\0\1\1", b"PROFILE\0\1\2"),
    "a profile numbered 0": SMOOTH.replace(b"PROFILE\0\1\1", b"PROFILE\0\0\1"),
    "a block nobody knows": SMOOTH[:2] + segment(0xEB, b"HDR gain map") + SMOOTH[2:],
    "EXIF cut short": SMOOTH[:2] + segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\xff\xff") + SMOOTH[2:],
    "all at once": scan_parameters(
        SMOOTH.replace(b"JFIF\0\1\1", b"JFIF\0\3\1").replace(b"PROFILE\0\1\1", b"PROFILE\0\1\2"),
        b"\0\0\0",
    ),
}


@pytest.mark.parametrize("name", FLAWS)
def test_a_jpeg_with_a_flaw_that_no_pixel_depends_on_is_read(name):
    clean = {
        "a grey scan": saved(photo()[..., :1], "JPEG"),
        "a scan in CMYK": EXAMPLES["jpeg cmyk"],
    }
    whole = clean.get(name, SMOOTH)
    for at_least in (0, 10):
        image = decode(FLAWS[name], KEEP, at_least)
        np.testing.assert_array_equal(image, decode(whole, KEEP, at_least))


@pytest.mark.parametrize("name", FLAWS)
def test_a_flaw_does_not_hide_that_pixels_are_lost(name):
    content = FLAWS[name]
    for broken in (content[:-300] + content[-200:], content[: len(content) * 3 // 4] + b"\xff\xd9"):
        with pytest.raises(Damaged, match="is damaged"):
            decode(broken, KEEP)


def test_a_progressive_jpeg_of_thousands_of_scans_is_refused():
    content = saved(noise(16, 16, 3), "JPEG", progressive=True)
    place = content.rindex(b"\xff\xda")
    with pytest.raises(ValueError, match="scans, and more than 1000 may be a bomb"):
        decode(content[:-2] + content[place:-2] * 1000 + b"\xff\xd9", Decoding())


def test_a_webp_of_a_hundred_bytes_and_as_many_megapixels_is_refused():
    from PIL import Image

    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "WEBP", lossless=True)
    content = file.getvalue()
    place = content.index(b"VP8L") + 9  # 14 bits of width - 1, 14 of height - 1
    size = struct.pack("<I", 9999 | 9999 << 14 | 1 << 29)
    with pytest.raises(ValueError, match=r"promises 10000x10000 pixels in \d+ bytes"):
        decode(content[:place] + size + content[place + 4 :], Decoding())
