"""JPEG, BMP, GIF and WebP end as the right uint8 pixels: against Pillow, OpenCV and arithmetic."""

import io

import cv2
import numpy as np
import pytest
from PIL import Image

from jaxcnn.data.decode import Decoding, decode, open_image
from tests.images import (
    EXIF,
    bmp,
    close,
    noise,
    photo,
    pillow,
    saved,
    upright,
)

KEEP = Decoding()


def test_a_cmyk_jpeg_has_the_colours_pillow_gives():
    cmyk = Image.fromarray(photo()).convert("CMYK")
    content = saved(cmyk, "JPEG", quality=98)
    close(decode(content, KEEP), pillow(content), 1)
    dark = Image.fromarray(np.full((16, 16, 4), (10, 200, 30, 120), np.uint8), "CMYK")
    close(decode(saved(dark, "JPEG", quality=98), KEEP), pillow(saved(dark, "JPEG", quality=98)), 1)


def test_a_ycck_jpeg_has_the_colours_pillow_gives():
    """The same file, whose Adobe marker says 2 (YCCK) instead of 0."""
    content = saved(Image.fromarray(photo()).convert("CMYK"), "JPEG", quality=98)
    place = content.index(b"Adobe") + 11
    assert content[place] == 0
    ycck = content[:place] + b"\x02" + content[place + 1 :]
    close(decode(ycck, KEEP), pillow(ycck), 3)  # two ways to round from YCC to CMY
    assert (decode(ycck, KEEP) != decode(content, KEEP)).any()


def test_a_jpeg_of_rgb_without_conversion_keeps_its_colours():
    content = saved(photo(), "JPEG", quality=98, keep_rgb=True)
    close(decode(content, KEEP), pillow(content))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_upright_whatever_exif_says(format, orientation):
    how = {"lossless": True} if format == "WEBP" else {}
    content = saved(photo(24, 32), format, exif=EXIF[orientation], **how)
    expected = pillow(content)
    assert expected.shape == ((24, 32, 3) if orientation < 5 else (32, 24, 3))
    close(decode(content, KEEP), expected)
    if format == "JPEG":
        assert open_image(content).size == expected.shape[:2]
    else:
        np.testing.assert_array_equal(
            Image.fromarray(expected), upright(photo(24, 32), orientation)
        )


@pytest.mark.parametrize("orientation", [0, 9])
def test_an_orientation_that_is_none_turns_nothing_and_not_half(orientation):
    content = saved(photo(24, 32), "JPEG", exif=EXIF[orientation])
    assert decode(content, KEEP).shape[:2] == open_image(content).size == (24, 32)


@pytest.mark.parametrize(
    "damage", [lambda e: e[:12], lambda e: e.replace(b"\x03\0\x01", b"\x07\0\x09")]
)
def test_exif_that_is_damaged_turns_nothing(damage):
    content = saved(photo(24, 32), "JPEG", exif=damage(EXIF[6]))
    assert decode(content, KEEP).shape[:2] == open_image(content).size == (24, 32)


def test_a_bmp_may_stand_on_its_head_or_not():
    image = photo(5, 7)
    rows = [row[:, ::-1].tobytes() + b"\0" * 3 for row in image]
    close(decode(bmp(7, -5, 24, b"".join(rows)), KEEP), image)
    close(decode(bmp(7, 5, 24, b"".join(rows[::-1])), KEEP), image)


def test_the_unused_byte_of_a_bmp_is_no_alpha():
    image = photo(5, 7)
    rows = np.concatenate([image[::-1, :, ::-1], np.zeros((5, 7, 1), np.uint8)], -1)
    close(decode(bmp(7, 5, 32, rows.tobytes()), KEEP), image)


@pytest.mark.parametrize("grey", [False, True])
def test_a_bmp_with_a_palette_becomes_its_colours(grey):
    pixels = noise(5, 8) % 16
    colours = noise(16, 3)
    colours = np.repeat(colours[:, :1], 3, -1) if grey else colours
    table = np.concatenate([colours, np.zeros((16, 1), np.uint8)], -1)
    table = np.concatenate([table, np.zeros((240, 4), np.uint8)])
    content = bmp(8, 5, 8, pixels[::-1].tobytes(), colours=table.tobytes())
    close(decode(content, Decoding(channels=3)), colours[pixels][..., ::-1])


def test_a_run_length_coded_bmp_is_read():
    grey = np.repeat(np.arange(256, dtype=np.uint8), 4).tobytes()
    runs = b"\x03\x09\x02\x05\0\0" + b"\x05\x07\0\0" + b"\0\x01"
    image = decode(bmp(5, 2, 8, runs, colours=grey, compression=1), KEEP)
    close(image[..., 0], [[7] * 5, [9, 9, 9, 5, 5]])


# GIF and WebP


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_a_film_the_first_image_is_taken(format):
    film = [Image.fromarray(np.full((8, 9, 3), v, np.uint8)) for v in (10, 120, 250)]
    how = {"lossless": True} if format == "WEBP" else {}
    content = saved(film[0], format, save_all=True, append_images=film[1:], **how)
    assert getattr(Image.open(io.BytesIO(content)), "n_frames", 1) == 3
    close(decode(content, KEEP), np.full(decode(content, KEEP).shape, 10))


@pytest.mark.parametrize("lossless", [False, True])
def test_a_webp_has_the_pixels_opencv_gives(lossless):
    content = saved(photo(), "WEBP", lossless=lossless)
    opencv = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    close(decode(content, KEEP), opencv)
    if lossless:
        close(opencv, photo())
