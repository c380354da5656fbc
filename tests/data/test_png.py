"""PNG of every depth and colour type ends as the right uint8 pixels."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data.decode import Decoding, decode
from tests.images import EXIF, chunk, close, noise, over, photo, pillow, png, saved

KEEP = Decoding()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_grey_png_of_few_bits_is_stretched_to_0_to_255(bits):
    levels = noise(9, 16) >> (8 - bits)
    content = png((9, 16), bits, 0, levels.tobytes())
    close(decode(content, KEEP)[..., 0], levels * (255 // (2**bits - 1)))


@pytest.mark.parametrize(("colour_type", "channels"), [(0, 1), (2, 3)])
def test_a_png_of_16_bits_is_scaled_and_not_cut(colour_type, channels):
    deep = noise(9, 16, channels, dtype=np.uint16)
    content = png((9, 16), 16, colour_type, deep.astype(">u2").tobytes())
    close(decode(content, KEEP), np.rint(deep / 257))
    windowed = np.rint((deep - 1000.0) * 255 / 29000).clip(0, 255)
    close(decode(content, Decoding(window=(1000, 30000))), windowed)


@pytest.mark.parametrize(("colour_type", "channels"), [(4, 2), (6, 4)])
def test_a_png_of_16_bits_with_alpha_lies_on_the_background(colour_type, channels):
    deep = noise(9, 16, channels, dtype=np.uint16)
    content = png((9, 16), 16, colour_type, deep.astype(">u2").tobytes())
    colour, alpha = deep[..., :-1] / 257, deep[..., -1:] / 65535
    for grey in (0, 77, 255):
        image = decode(content, Decoding(background=(grey,) * 3))
        close(image, np.rint(colour * alpha + grey * (1 - alpha)), 1)
        assert image.shape[-1] == channels - 1


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 0, 0), (10, 200, 90)])
@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF"])
def test_what_is_transparent_lies_on_the_background(format, background):
    rgba = noise(9, 16, 4)
    how = {"lossless": True, "exact": True} if format == "WEBP" else {}
    image = decode(saved(rgba, format, **how), Decoding(background=background))
    close(image, over(rgba, background), 1)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_grey_with_alpha_stays_grey_unless_the_background_is_not(format):
    grey = noise(9, 16, 2)
    content = saved(Image.fromarray(grey, "LA"), format)
    expected = over(grey[..., [0, 0, 0, 1]], (255, 255, 255))
    close(decode(content, KEEP), expected[..., :1])
    red = (255, 0, 0)
    close(decode(content, Decoding(background=red)), over(grey[..., [0, 0, 0, 1]], red))


@pytest.mark.parametrize(
    ("format", "transparency"),
    [("PNG", None), ("GIF", None), ("PNG", 3), ("GIF", 3), ("PNG", bytes(range(0, 160, 10)))],
)
def test_a_palette_becomes_its_colours(format, transparency):
    palette = Image.fromarray(photo()).quantize(16)
    given = {} if transparency is None else {"transparency": transparency}
    content = saved(palette, format, **given)
    close(decode(content, KEEP), over(pillow(content, "RGBA"), (255, 255, 255)), 1)


@pytest.mark.parametrize(("bits", "colour_type"), [(2, 0), (8, 0), (16, 0), (8, 2), (16, 2)])
def test_the_one_transparent_colour_of_a_png_is_background(bits, colour_type):
    channels = 3 if colour_type == 2 else 1
    pixels = noise(9, 16, channels, dtype=np.uint16) >> (16 - bits)
    chosen = pixels[4, 4]
    data = pixels.astype(">u2" if bits == 16 else np.uint8).tobytes()
    tall = np.array([chosen] if channels == 1 else chosen).astype(">u2").ravel().tobytes()
    content = png((9, 16), bits, colour_type, data, chunk(b"tRNS", tall))
    expected = np.rint(pixels * 255.0 / (2**bits - 1))
    expected[(pixels == chosen).all(-1)] = 7
    close(decode(content, Decoding(background=(7, 7, 7))), expected)


def test_an_interlaced_png_has_the_pixels_of_another():
    image = photo(8, 8)
    adam7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2),
             (1, 0, 2, 1)]  # fmt: skip
    rows = b"".join(b"\0" + row.tobytes() for y, x, dy, dx in adam7 for row in image[y::dy, x::dx])
    header = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 1)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND")
    close(decode(b"\x89PNG\r\n\x1a\n" + chunks, KEEP), image)


def test_a_png_of_16_bits_with_an_orientation_keeps_both():
    deep = noise(9, 16, 3, dtype=np.uint16)
    data = deep.astype(">u2").tobytes()
    content = png((9, 16), 16, 2, data, chunk(b"eXIf", EXIF[6][6:]))
    close(
        decode(content, Decoding(window=(0, 1000))),
        np.rot90(np.rint(deep.clip(0, 1000) * 0.255), -1),
    )
