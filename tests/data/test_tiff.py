"""TIFF of every depth ends as the right uint8 pixels, or says why not."""

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data.decode import Decoding, decode
from tests.images import close, noise, photo, pillow, saved, tiff, upright

KEEP = Decoding()


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_is_read_however_it_is_compressed(compression, dtype):
    grey = noise(9, 16, 1, dtype=dtype)
    content = saved(grey, "TIFF", compression=compression)
    close(decode(content, KEEP), np.rint(grey / (257 if dtype == np.uint16 else 1)))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_a_tiff_of_16_bits_is_scaled_by_its_depth_or_a_window(order, white_is_zero):
    deep = noise(9, 16, 1, dtype=np.uint16)
    data = deep.astype(order + "u2").tobytes()
    content = tiff((9, 16), (16,), 0 if white_is_zero else 1, data, order=order)
    negative = (lambda x: 255 - x) if white_is_zero else lambda x: x
    close(decode(content, KEEP), np.rint(negative(deep / 257)))
    windowed = (deep / 1000.0 * 255).clip(0, 255)
    close(decode(content, Decoding(window=(0, 1000))), np.rint(negative(windowed)), 1)


@pytest.mark.parametrize("order", "<>")
def test_a_colour_tiff_of_16_bits_loses_none_before_it_is_scaled(order):
    deep = noise(9, 16, 3, dtype=np.uint16)
    content = tiff((9, 16), (16,) * 3, 2, deep.astype(order + "u2").tobytes(), order=order)
    close(decode(content, KEEP), np.rint(deep / 257))
    close(decode(content, Decoding(window=(0, 255))), deep.clip(0, 255))
    alpha = np.concatenate([deep, np.full((9, 16, 1), 65535, np.uint16)], -1)
    content = tiff((9, 16), (16,) * 4, 2, alpha.astype("<u2").tobytes(), t338=2)
    close(decode(content, KEEP), np.rint(deep / 257))


def test_twelve_bits_are_scaled_by_twelve_bits():
    values = np.array([0, 4095, 2048, 291, 1, 4094, 100, 3000])
    bits = "".join(f"{value:012b}" for value in values)
    content = tiff((2, 4), (12,), 1, int(bits, 2).to_bytes(12, "big"))
    close(decode(content, KEEP).ravel(), np.rint(values * 255 / 4095))
    close(decode(content, Decoding(window=(0, 300))).ravel(), np.rint(values.clip(0, 300) * 0.85))


@pytest.mark.parametrize(
    ("dtype", "sample_format"),
    [("<i2", 2), ("<u4", 1), ("<f4", 3), ("<f8", 3)],
)
def test_what_declares_no_range_needs_a_window(dtype, sample_format):
    values = np.arange(12).reshape(3, 4).astype(dtype)
    bits = 8 * values.itemsize
    content = tiff((3, 4), (bits,), 1, values.tobytes(), t339=sample_format)
    with pytest.raises(ValueError, match=r"declare no range: give --config.data.window='\(LOW, "):
        decode(content, KEEP)
    close(decode(content, Decoding(window=(0, 10)))[..., 0], np.rint(values.clip(0, 10) * 25.5))


def test_what_is_not_a_number_is_black():
    values = np.array([[0, np.nan, 5, 10, np.inf, -np.inf]], "<f4")
    content = tiff((1, 6), (32,), 1, values.tobytes(), t339=3)
    close(decode(content, Decoding(window=(0, 10))).ravel(), [0, 0, 128, 255, 255, 0])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_tiff_of_16_bits_is_upright(orientation):
    deep = noise(9, 16, dtype=np.uint16)
    content = tiff((9, 16), (16,), 1, deep.tobytes(), t274=orientation)
    expected = upright(np.rint(deep / 257).astype(np.uint8), orientation)
    close(decode(content, KEEP)[..., 0], expected)


def test_a_cmyk_tiff_has_the_colours_pillow_gives():
    content = saved(Image.fromarray(photo()).convert("CMYK"), "TIFF")
    close(decode(content, KEEP), pillow(content))


def test_a_tiff_jaxcnn_cannot_read_says_so():
    strange = tiff((3, 4), (16, 16), 1, noise(48).tobytes(), t338=2)
    with pytest.raises(ValueError, match="is a TIFF of 2 x 16 bits, of a kind jaxcnn does not"):
        decode(strange, KEEP)
    lab = tiff((3, 4), (8, 8, 8), 8, noise(36).tobytes())
    with pytest.raises(ValueError, match=r"has CIE L\*a\*b\* colours"):
        decode(lab, KEEP)
