"""A fourth band is alpha where it looks like alpha; where it does not, somebody is told."""

import numpy as np
import pytest

from jaxcnn.data.arrays import from_arrays
from jaxcnn.data.decode import Decoding, decode, partly_clear
from tests.checks import findings
from tests.images import noise, saved, tiff


def cut_out(count=20):
    """Pictures whose edges are clear and whose middle is opaque."""
    image = noise(count, 16, 16, 4)
    image[..., 3] = 0
    image[:, 3:13, 3:13, 3] = 255
    image[:, 3, 3:13, 3] = 99  # a soft edge
    return image


ALPHA = {
    "cut out": (cut_out(), False),
    "opaque": (np.full((20, 8, 8, 4), 255, np.uint8), False),
    "near infrared": (noise(20, 8, 8, 4), True),
    "near infrared, 16 bits": (noise(20, 8, 8, 4, dtype=np.uint16), True),
    "grey and alpha": (cut_out()[..., 2:], False),
    "two channels of a microscope": (noise(20, 8, 8, 2), True),
    "four channels of 12 bits": (noise(20, 8, 8, 4, dtype=np.uint16) >> 4, True),
}


@pytest.mark.parametrize("name", ALPHA)
def test_an_array_with_a_band_that_is_hardly_alpha_is_told(name, caplog):
    image, odd = ALPHA[name]
    from_arrays({"image": image, "label": np.arange(20) % 2}, "config.data.dir='x'")
    assert ("image has" in caplog.text and "the last is taken for alpha" in caplog.text) == odd
    assert (partly_clear(image) > 0.5) == odd


def test_check_data_finds_such_bands_in_files_too(tmp_path):
    for k in range(20):
        path = tmp_path / "d" / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = noise(8, 8, 4, seed=k) if k < 4 else cut_out(k + 1)[k]
        path.write_bytes(saved(image, "PNG"))
    harm, what, _ = findings(tmp_path / "d", tmp_path, image_size=8)["odd_alpha"]
    assert harm and what.startswith("4 images are laid on the background by a last band")


@pytest.mark.parametrize(("extra", "shown"), [(0, False), (2, True)])
def test_a_tiff_that_says_its_fourth_band_is_no_alpha_is_believed(extra, shown):
    image = noise(8, 8, 4, dtype=np.uint16)
    content = tiff((8, 8), (16,) * 4, 2, image.tobytes(), t338=extra)
    plain = np.rint(image[..., :3] * (255 / 65535))
    assert (decode(content, Decoding()) == plain).all() != shown


@pytest.mark.parametrize(
    ("image", "few"),
    [
        (lambda k: noise(8, 8, seed=k) // 16, True),  # 0 to 15, as scikit-learn has digits
        (lambda k: noise(8, 8, seed=k) % 2, True),  # masks of 0 and 1
        (lambda k: noise(8, 8, seed=k) // 128 * 255, False),  # drawings
        (lambda k: noise(8, 8, seed=k) // 4, False),
        (lambda k: noise(8, 8, dtype=np.uint16, seed=k) >> 4, False),  # 12 bits get a window
    ],
)
def test_pixels_that_use_few_levels_are_a_finding(tmp_path, image, few):
    for k in range(20):
        path = tmp_path / "d" / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(saved(image(k), "PNG"))
    found = findings(tmp_path / "d", tmp_path)
    assert ("few_levels" in found) == few
    if few:
        assert (
            found["few_levels"][0] and "99.9% of all pixels lie between" in found["few_levels"][1]
        )
