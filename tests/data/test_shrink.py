"""A smaller copy of a large photo looks like it, and is the same however often it is made."""

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data.decode import Decoding, decode, open_image
from jaxcnn.data.load import load_example
from jaxcnn.data.resize import fit
from jaxcnn.data.shrink import small_copy
from tests.images import LARGE, saved

HOW = Decoding(image_size=32, channels=3, shrink=2)  # copies of 64 pixels


@pytest.mark.parametrize("name", LARGE)
def test_a_copy_looks_like_its_file(name):
    exact = HOW._replace(shrink=None)
    whole = fit(decode(LARGE[name], exact), exact).astype(int)
    assert np.abs(load_example(LARGE[name], HOW) - whole).mean() < 1.5


def test_a_real_photo_is_less_than_a_level_off(shared):
    file = sorted((shared / "folders/cats_dogs/cat").iterdir())[0]
    photo = Image.open(file).resize((1600, 1200), Image.Resampling.BICUBIC)
    content, how = saved(photo, "JPEG", quality=90), Decoding(64, 3)
    whole = fit(decode(content, how), how).astype(int)
    difference = np.abs(load_example(content, how._replace(shrink=2)) - whole)
    assert difference.mean() < 1 and difference.max() < 20


@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize("shrink", [1, 2, 3])
def test_a_copy_of_a_copy_is_itself(name, shrink):
    how = HOW._replace(shrink=shrink)
    copy = small_copy(open_image(LARGE[name]), how)
    assert min(open_image(copy).size) == 32 * shrink
    assert small_copy(open_image(copy), how) is None


def test_what_is_too_long_for_a_jpeg_stays_as_it_is():
    strip = np.zeros((65, 70_000, 1), np.uint8)
    assert small_copy(open_image(strip), HOW) is None
    assert load_example(strip, HOW).shape == (32, 32, 3)
