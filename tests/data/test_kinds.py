"""What a file is, by its first bytes; and HEIC and AVIF, which phones make."""

import sys

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data.damage import Damaged, check_content, format_of
from jaxcnn.data.decode import Decoding, decode, open_image
from jaxcnn.errors import UserError
from tests.images import EXIF, close, heic, noise, photo, pillow, saved, upright

KEEP = Decoding()
PHOTOS = {"heic": heic, "avif": lambda image, **options: saved(image, "AVIF", **options)}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", PHOTOS)
def test_a_photo_of_a_phone_is_upright(kind, orientation):
    content = PHOTOS[kind](photo(24, 32), quality=95, exif=EXIF[orientation])
    assert format_of(content) == kind
    expected = upright(photo(24, 32), orientation)
    assert open_image(content).size == expected.shape[:2]
    close(decode(content, KEEP), pillow(content))
    assert np.abs(decode(content, KEEP).astype(int) - expected).mean() < 3


@pytest.mark.parametrize("kind", PHOTOS)
def test_grey_and_transparent_ones_and_the_first_of_a_film(kind):
    save = PHOTOS[kind]
    assert decode(save(photo()[..., :1]), KEEP).shape == (40, 60, 1)
    clear = np.dstack([photo(), np.zeros((40, 60), np.uint8)])
    close(decode(save(clear), KEEP), np.full((40, 60, 3), 255))  # on white, as other formats
    film = save(photo(), quality=95, save_all=True, append_images=[Image.fromarray(255 - photo())])
    assert np.abs(decode(film, KEEP).astype(int) - photo()).mean() < 3


@pytest.mark.parametrize("kind", PHOTOS)
def test_a_photo_that_is_cut_short_is_refused_and_bytes_behind_it_do_no_harm(kind):
    content = PHOTOS[kind](noise(64, 64, 3))
    for end in (20, 40, len(content) // 3, len(content) // 2, len(content) - 1):
        with pytest.raises(Damaged, match="is cut short"):
            decode(content[:end], KEEP)
    whole = decode(content, KEEP)
    for behind in (b"\0" * 8, b"SEFT" * 9, b"\0\0\0\x18ftypmp42" + bytes(5000)):
        close(decode(content + behind, KEEP), whole)


def test_a_heic_without_the_extra_says_which(monkeypatch):
    content = heic(photo())
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(UserError) as caught:
        decode(content, KEEP)
    assert str(caught.value) == "HEIC images take pillow-heif: pip install 'jaxcnn[heif]'"


def test_an_avif_without_libavif_says_what_to_install(monkeypatch):
    monkeypatch.setattr("PIL.features.check", lambda name: False)
    with pytest.raises(UserError, match="AVIF images take a Pillow built with libavif: pip inst"):
        decode(PHOTOS["avif"](photo()), KEEP)


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"\xff\x0a\xfa\x7f", "a JPEG XL image"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "a JPEG XL image"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 image"),
        (b"\xef\xbb\xbf<?xml version='1.0'?>\n<svg width='1'/>", "an SVG drawing"),
        (b"%PDF-1.7\n", "a PDF"),
        (b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom", "an MP4 or QuickTime video"),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a raw photo"),
        (b"\n <!DOCTYPE html><title>404", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS (git lfs pull "
         "fetches the file)"),
        (b"PK\3\4\x14\0", "a ZIP archive"),
    ],
)  # fmt: skip
def test_what_is_called_jpg_and_is_something_else_is_named(head, what):
    with pytest.raises(Damaged) as caught:
        check_content(head + bytes(2000))
    assert str(caught.value) == f"is {what}, which is not read"


def test_an_image_file_of_any_codec_is_told_by_its_other_brands():
    for brands, kind in ((b"mif1\0\0\0\0mif1avif", "avif"), (b"mif1\0\0\0\0mif1heic", "heic")):
        assert format_of(b"\0\0\0\x18ftyp" + brands + bytes(99)) == kind
    with pytest.raises(Damaged, match="is cut short"):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400), KEEP)
