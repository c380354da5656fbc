"""DICOM ends as the right uint8 pixels: against arithmetic in the units of the modality."""

import sys

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data.decode import Decoding, decode
from jaxcnn.errors import UserError
from tests.images import close, dicom, noise, photo

pytest.importorskip("pydicom")

KEEP = Decoding()


def test_twelve_bits_of_sixteen_are_scaled_by_twelve():
    deep = noise(6, 7, dtype=np.uint16) >> 4
    close(decode(dicom(deep, stored=12), KEEP)[..., 0], np.rint(deep * 255.0 / 4095))


def test_a_window_counts_in_the_units_of_the_modality():
    hounsfield = np.array([[-1024, -160, 0], [41, 240, 3071]], np.int16)
    content = dicom(
        (hounsfield + 1024).astype(np.uint16), stored=12, RescaleSlope=1, RescaleIntercept=-1024
    )
    soft_tissue = Decoding(window=(-160, 240))
    close(decode(content, soft_tissue)[..., 0], [[0, 0, 102], [128, 255, 255]])
    signed = dicom(hounsfield, stored=13)
    np.testing.assert_array_equal(decode(signed, soft_tissue), decode(content, soft_tissue))
    close(decode(signed, KEEP)[..., 0], np.rint((hounsfield + 4096) * 255.0 / 8191))
    close(decode(content, KEEP)[..., 0], np.rint((hounsfield + 1024) * 255.0 / 4095))


def test_the_lowest_value_of_monochrome1_is_white():
    deep = noise(6, 7, dtype=np.uint16) >> 4
    plain, negative = dicom(deep, stored=12), dicom(deep, "MONOCHROME1", stored=12)
    close(decode(negative, KEEP)[..., 0], np.rint(255 - deep * 255.0 / 4095), 1)
    how = Decoding(window=(100, 1000))
    close(decode(negative, how), 255 - decode(plain, how).astype(int), 1)


def test_higher_is_brighter_also_where_the_slope_is_negative():
    deep = noise(6, 7, dtype=np.uint16) >> 4
    content = dicom(deep, stored=12, RescaleSlope=-2, RescaleIntercept=0)
    close(decode(content, KEEP)[..., 0], np.rint(255 - deep * 255.0 / 4095), 1)
    windowed = np.rint((1000 - 2.0 * deep).clip(0, 1000) * 0.255)
    close(decode(content, Decoding(window=(-1000, 0)))[..., 0], windowed, 1)


def test_rgb_stays_and_other_colours_become_rgb():
    image = photo(6, 8)
    close(decode(dicom(image, "RGB"), KEEP), image)
    ycc = np.asarray(Image.fromarray(image).convert("YCbCr"))
    close(decode(dicom(ycc, "YBR_FULL"), KEEP), image, 3)


def test_a_palette_becomes_its_colours_and_not_grey():
    index = np.array([[0, 1], [2, 3]], np.uint8)
    colours = noise(4, 3)
    tables = {}
    for k, name in enumerate(("Red", "Green", "Blue")):
        tables[f"{name}PaletteColorLookupTableDescriptor"] = [4, 0, 8]
        tables[f"{name}PaletteColorLookupTableData"] = colours[:, k].tobytes()
    close(decode(dicom(index, "PALETTE COLOR", **tables), KEEP), colours[index])
    with pytest.raises(ValueError, match="No suitable Palette Color"):
        decode(dicom(index, "PALETTE COLOR"), KEEP)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (dicom(noise(6, 7), NumberOfFrames=3), "is a volume or film of 3 frames; expected one"),
        (dicom(noise(6, 7), Rows=60000, Columns=60000), "promises 60000x60000 pixels; more than"),
        (dicom(noise(6, 7), Rows=7), "cannot be decoded .The number of bytes of pixel data is le"),
        (dicom(noise(6, 7))[:-1], "is cut short"),
        (dicom(noise(60, 70)).replace(b"\n", b"\r\n"), r"bytes where its header promises \d+ .ch"),
        (dicom(noise(6, 7), "CMYK"), "has colours of a kind jaxcnn does not read .CMYK"),
    ],
)
def test_a_dicom_file_that_is_damaged_or_no_single_image_says_why(content, reason):
    with pytest.raises(ValueError, match=reason):
        decode(content, KEEP)


def test_without_pydicom_one_line_names_the_extra(monkeypatch):
    content = dicom(noise(6, 7))
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UserError, match=r"take pydicom: pip install 'jaxcnn\[medical\]'"):
        decode(content, KEEP)
