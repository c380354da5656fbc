"""Decoding gives the file's pixels; fitting keeps the centre and the proportions."""

import tracemalloc

import cv2
import numpy as np
import pytest

from jaxcnn.data.decode import Decoding, decode, open_image, to_channels
from jaxcnn.data.load import load_example
from jaxcnn.data.resize import fit, resize, resize_rule
from tests.images import examples, noise, photo, saved

GREY, COLOUR = Decoding(channels=1), Decoding(channels=3)
EXAMPLES = examples()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_keeps_every_pixel(channels):
    image = noise(13, 17, channels)
    np.testing.assert_array_equal(decode(saved(image, "PNG"), Decoding()), image)


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_a_lossy_file_keeps_its_colours(format):
    decoded = decode(saved(photo(), format, quality=95), COLOUR)
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - photo()).mean() < 3  # red and blue not exchanged


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("channels", [1, 3, None])
def test_every_format_has_the_channels_asked_for(name, channels):
    own = 1 if any(word in name for word in ("grey", "16 bits", "deflate", "pbm", "dicom")) else 3
    own = 3 if name == "tiff 16 bits" else own
    decoded = decode(EXAMPLES[name], Decoding(channels=channels))
    assert decoded.shape == (24, 32, channels or own)
    assert decoded.dtype == np.uint8


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_a_grey_file_as_colour_has_three_equal_channels(format):
    content = saved(photo()[..., :1], format)
    colour, grey = decode(content, COLOUR), decode(content, GREY)
    assert (colour.shape, grey.shape) == ((40, 60, 3), (40, 60, 1))
    np.testing.assert_array_equal(colour, np.repeat(grey, 3, axis=-1))


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_a_colour_file_as_grey_has_its_luma(format):
    content = saved(photo(), format)
    luma = decode(content, COLOUR) @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(decode(content, GREY)[..., 0], luma, atol=1)


def test_pixels_are_decoded_like_files():
    grey, deep = noise(5, 6), noise(5, 6, 1, dtype=np.uint16)
    np.testing.assert_array_equal(decode(grey, Decoding()), grey[..., None])
    np.testing.assert_array_equal(decode(deep, Decoding()), np.rint(deep / 257))
    half = np.full((5, 6, 4), 128, np.uint8)
    assert set(decode(half, Decoding(background=(0, 0, 0))).ravel()) == {64}


@pytest.mark.parametrize("quality", [60, 95])
@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"subsampling": 0}, {"optimize": True}])
def test_a_jpeg_has_the_pixels_opencv_gives(quality, how):
    image = cv2.GaussianBlur(noise(93, 71, 3), (0, 0), 2)
    content = saved(image, "JPEG", quality=quality, **how)
    opencv = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(decode(content, COLOUR), opencv)


def test_a_jpeg_as_grey_is_the_grey_of_its_colours_and_not_another():
    content = saved(photo(), "JPEG")
    grey = cv2.cvtColor(decode(content, COLOUR), cv2.COLOR_RGB2GRAY)
    np.testing.assert_array_equal(decode(content, GREY)[..., 0], grey)


@pytest.mark.parametrize("at_least", [1, 8, 30, 31, 32, 33, 64, 100, 199, 200, 201, 500])
@pytest.mark.parametrize("size", [(200, 304), (336, 208), (203, 301)])
def test_a_jpeg_decoded_smaller_has_no_less_than_asked_for_and_is_the_same_picture(size, at_least):
    image = cv2.GaussianBlur(noise(*size, 3), (0, 0), 9)
    image = cv2.normalize(image, None, 0, 255, cv2.NORM_MINMAX)
    content = saved(image, "JPEG", quality=95)
    full, small = decode(content, COLOUR), decode(content, COLOUR, at_least)
    assert min(small.shape[:2]) >= min(at_least, *size)
    assert full.shape == image.shape
    assert (small.shape == full.shape) == (min(size) < 2 * at_least)
    if at_least >= 30:
        difference = small.astype(int) - resize(full, small.shape[:2])
        assert np.abs(difference).mean() < 2.5


@pytest.mark.parametrize("size", [(1600, 1200), (1602, 1201), (1601, 1203), (1003, 1501)])
def test_a_photo_decoded_smaller_is_neither_stretched_nor_moved(size, shared):
    file = sorted((shared / "folders/cats_dogs/cat").iterdir())[0]
    large = cv2.resize(cv2.imread(str(file)), size, interpolation=cv2.INTER_CUBIC)
    content = cv2.imencode(".jpg", large)[1].tobytes()
    how = Decoding(image_size=64)
    exact = fit(decode(content, how), how).astype(int)
    assert np.abs(load_example(content, how) - exact).mean() < 2.5


@pytest.mark.parametrize("name", EXAMPLES)
def test_only_jpegs_are_decoded_smaller(name):
    small = decode(EXAMPLES[name], Decoding(), at_least=5)
    assert small.shape[:2] == ((6, 8) if name.startswith("jpeg") else (24, 32))
    assert open_image(EXAMPLES[name]).size == (24, 32)


def test_channels_that_fit_are_left_alone():
    for channels in (1, 3):
        image = noise(5, 6, channels)
        assert to_channels(image, channels) is image


def test_grey_becomes_colour_and_back_unchanged():
    grey = noise(5, 6, 1)
    colour = to_channels(grey, 3)
    assert colour.shape == (5, 6, 3)
    np.testing.assert_array_equal(to_channels(colour, 1), grey)


def test_colour_becomes_its_luma():
    image = noise(5, 6, 3)
    luma = image @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(to_channels(image, 1)[..., 0], luma, atol=1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [1, 7, 32, 90])
@pytest.mark.parametrize(("height", "width"), [(40, 60), (60, 40), (33, 32), (5, 200), (1, 1)])
def test_whatever_the_image_it_becomes_a_square(height, width, size, channels):
    fitted = fit(noise(height, width, channels), Decoding(size))
    assert fitted.shape == (size, size, channels)
    assert fitted.dtype == np.uint8


def test_an_image_of_the_right_size_is_left_alone():
    image = noise(8, 8, 3)
    assert fit(image, Decoding(8)) is image


@pytest.mark.parametrize(("height", "width"), [(8, 20), (20, 8), (9, 8), (8, 9)])
def test_an_image_of_the_right_shorter_side_is_only_cropped_to_its_centre(height, width):
    image = noise(height, width, 3)
    top, left = (height - 8) // 2, (width - 8) // 2
    np.testing.assert_array_equal(fit(image, Decoding(8)), image[top : top + 8, left : left + 8])


@pytest.mark.parametrize("size", [16, 64, 128])
@pytest.mark.parametrize("tall", [True, False])
def test_the_centre_and_the_proportions_stay(size, tall):
    """A disc in the middle of a picture twice as long as wide is a disc in the middle after."""
    image = np.zeros((128, 64, 1) if tall else (64, 128, 1), np.uint8)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    middle = (image.shape[0] - 1) / 2, (image.shape[1] - 1) / 2
    image[np.hypot(y - middle[0], x - middle[1]) < 24] = 255
    disc = fit(image, Decoding(size))[..., 0] / 255
    area = disc.sum()
    assert area == pytest.approx(np.pi * (24 * size / 64) ** 2, rel=0.05)
    rows, columns = np.mgrid[:size, :size]
    for place in (rows, columns):
        centre = (place * disc).sum() / area
        assert centre == pytest.approx((size - 1) / 2, abs=0.02 * size)
        radius = np.sqrt(((place - centre) ** 2 * disc).sum() / area)  # half that of a disc
        assert radius == pytest.approx(12 * size / 64, rel=0.05)


def test_a_line_of_pixels_is_enlarged_without_filling_the_memory():
    line = np.linspace(0, 255, 100_000).astype(np.uint8).reshape(1, -1, 1)
    for image in (line, line.swapaxes(0, 1)):
        tracemalloc.start()
        fitted = fit(image, Decoding(224))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert fitted.shape == (224, 224, 1)
        assert np.abs(fitted.astype(int) - 127).max() <= 1  # the middle
        assert peak < 10e6


def test_a_smaller_crop_fraction_keeps_less_of_the_image():
    image = photo(80, 80)
    whole = resize(image, (64, 64))
    np.testing.assert_array_equal(fit(image, Decoding(64)), whole)
    np.testing.assert_array_equal(fit(image, Decoding(32, crop_fraction=0.5)), whole[16:48, 16:48])


def test_shrinking_averages_areas():
    image = noise(32, 32, 3)
    means = image.reshape(8, 4, 8, 4, 3).mean((1, 3))
    np.testing.assert_allclose(fit(image, Decoding(8)), means, atol=1)


def test_the_rule_names_the_libraries_that_decoded_and_resized():
    library = resize_rule(Decoding())["library"]
    assert library.startswith("simplejpeg ") and "pillow " in library
    assert library.endswith(f"opencv {cv2.__version__}")
