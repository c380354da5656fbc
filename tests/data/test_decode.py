"""Decoding gives the file's pixels; fitting keeps the centre and the proportions."""

import cv2
import numpy as np
import pytest

from jaxcnn.data.decode import decode, fit, resize_rule, to_channels


def noise(*shape):
    return np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)


def photo(height=40, width=60):
    """Smooth colours, as JPEG likes them: uint8[height, width, 3] RGB."""
    y, x = np.mgrid[:height, :width]
    return np.stack([4 * y, 4 * x, 2 * (x + y)], -1).astype(np.uint8)


def encode(image, extension, *parameters):
    """The bytes of an image file of RGB or grey pixels."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if image.shape[-1] == 3 else image
    return cv2.imencode(extension, bgr, parameters)[1].tobytes()


@pytest.mark.parametrize("channels", [1, 3])
def test_a_png_keeps_every_pixel(channels):
    image = noise(13, 17, channels)
    np.testing.assert_array_equal(decode(encode(image, ".png"), channels), image)


@pytest.mark.parametrize("extension", [".jpg", ".webp"])
def test_a_lossy_file_keeps_its_colours(extension):
    quality = cv2.IMWRITE_JPEG_QUALITY if extension == ".jpg" else cv2.IMWRITE_WEBP_QUALITY
    decoded = decode(encode(photo(), extension, quality, 95), 3)
    assert decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - photo()).mean() < 3  # red and blue not exchanged


@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_a_grey_file_as_colour_has_three_equal_channels(extension):
    content = encode(photo()[..., :1], extension)
    colour, grey = decode(content, 3), decode(content, 1)
    assert (colour.shape, grey.shape) == ((40, 60, 3), (40, 60, 1))
    np.testing.assert_array_equal(colour, np.repeat(grey, 3, axis=-1))


@pytest.mark.parametrize("extension", [".png", ".jpg"])
def test_a_colour_file_as_grey_has_its_luma(extension):
    content = encode(photo(), extension)
    grey = decode(content, 1)
    luma = decode(content, 3) @ np.array([0.299, 0.587, 0.114])
    assert grey.shape == (40, 60, 1)
    np.testing.assert_allclose(grey[..., 0], luma, atol=2)


@pytest.mark.parametrize("content", [b"", b"not an image", encode(photo(), ".png")[:30]])
def test_what_is_no_image_raises_a_value_error(content):
    with pytest.raises(ValueError, match="not an image"):
        decode(content, 3)


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
    fitted = fit(noise(height, width, channels), size)
    assert fitted.shape == (size, size, channels)
    assert fitted.dtype == np.uint8


def test_an_image_of_the_right_size_is_left_alone():
    image = noise(8, 8, 3)
    assert fit(image, 8) is image


@pytest.mark.parametrize(("height", "width"), [(8, 20), (20, 8), (9, 8), (8, 9)])
def test_an_image_of_the_right_shorter_side_is_only_cropped_to_its_centre(height, width):
    image = noise(height, width, 3)
    top, left = (height - 8) // 2, (width - 8) // 2
    np.testing.assert_array_equal(fit(image, 8), image[top : top + 8, left : left + 8])


@pytest.mark.parametrize("size", [16, 64, 128])
@pytest.mark.parametrize("tall", [True, False])
def test_the_centre_and_the_proportions_stay(size, tall):
    """A disc in the middle of a picture twice as long as wide is a disc in the middle after."""
    image = np.zeros((128, 64, 1) if tall else (64, 128, 1), np.uint8)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    middle = (image.shape[0] - 1) / 2, (image.shape[1] - 1) / 2
    image[np.hypot(y - middle[0], x - middle[1]) < 24] = 255
    disc = fit(image, size)[..., 0] / 255
    area = disc.sum()
    assert area == pytest.approx(np.pi * (24 * size / 64) ** 2, rel=0.05)
    rows, columns = np.mgrid[:size, :size]
    for place in (rows, columns):
        centre = (place * disc).sum() / area
        assert centre == pytest.approx((size - 1) / 2, abs=0.02 * size)
        radius = np.sqrt(((place - centre) ** 2 * disc).sum() / area)  # half that of a disc
        assert radius == pytest.approx(12 * size / 64, rel=0.05)


def test_shrinking_averages_areas():
    image = noise(32, 32, 3)
    means = image.reshape(8, 4, 8, 4, 3).mean((1, 3))
    np.testing.assert_allclose(fit(image, 8), means, atol=1)


def test_the_rule_names_the_library_that_resized():
    assert resize_rule()["library"] == f"opencv {cv2.__version__}"
