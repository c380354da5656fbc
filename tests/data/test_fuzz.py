"""Whatever is done to a file, decoding gives an image or a reason: no crash, no hang, and where the
format can tell, no wrong image.

Longer campaigns: JAXCNN_FUZZ=2000 times the examples, not the same each time.
"""

import contextlib
import os
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxcnn.data.damage import MAX_PIXELS, Damaged
from jaxcnn.data.decode import Decoding, decode, open_image
from tests.images import examples

TIMES = int(os.environ.get("JAXCNN_FUZZ", 1))
EXAMPLES = examples()
# Nothing protects the pixels of these but their size; a changed one is another pixel.
EXACT_SIZE = ("ppm", "pgm 16 bits", "pbm")
CHECKSUM = [name for name in EXAMPLES if name.startswith("png")]


def fuzz(examples):
    return settings(
        max_examples=examples * TIMES,
        derandomize=TIMES == 1,
        database=None,
        deadline=20_000,  # milliseconds; other processes may want the cores too
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )


@st.composite
def damaged(draw, content):
    """A file with a few of its bits, bytes or parts changed, near its head for half of them."""
    content = bytearray(content)
    for _ in range(draw(st.integers(1, 4))):
        end = len(content) - 1 if draw(st.booleans()) else min(len(content) - 1, 200)
        place = draw(st.integers(0, end))
        what = draw(st.sampled_from(("bit", "byte", "word", "cut", "remove", "insert", "twice")))
        length = draw(st.integers(1, 40))
        if what == "bit":
            content[place] ^= 1 << draw(st.integers(0, 7))
        elif what == "byte":
            content[place] = draw(st.sampled_from((0, 1, 0x0A, 0x7F, 0x80, 0xFE, 0xFF)))
        elif what == "word":
            content[place : place + 4] = draw(
                st.sampled_from((b"\xff" * 4, b"\0" * 4, b"\0\0\x7f\xff"))
            )
        elif what == "cut":
            del content[place:]
        elif what == "remove":
            del content[place : place + length]
        elif what == "insert":
            content[place:place] = draw(st.binary(min_size=1, max_size=8))
        else:
            content[place:place] = content[place : place + length]
        if not content:
            break
    return bytes(content)


def decoded(content, how=Decoding(), at_least=0):  # noqa: B008 - a tuple
    """The image, or None where it is refused; anything else is a failure."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's and Pillow's, of damage
        try:
            image = decode(content, how, at_least)
        except Damaged as error:
            assert str(error)
            assert "\n" not in str(error)
            return None
    assert image.dtype == np.uint8
    assert image.ndim == 3
    assert image.shape[2] in ((1, 3) if how.channels is None else (how.channels,))
    assert 0 < image.shape[0] * image.shape[1] <= MAX_PIXELS
    return image


@pytest.mark.parametrize("name", EXAMPLES)
def test_whatever_is_done_to_a_file_it_is_an_image_or_refused(name):
    @fuzz(60)
    @given(content=damaged(EXAMPLES[name]), window=st.booleans())
    def check(content, window):
        decoded(content, Decoding(window=(10, 4000) if window else None, channels=3), 7)
        with contextlib.suppress(Damaged):
            open_image(content)

    check()


@pytest.mark.parametrize("name", CHECKSUM)
def test_a_png_is_never_a_wrong_image(name):
    whole = decode(EXAMPLES[name], Decoding())

    @fuzz(60)
    @given(content=damaged(EXAMPLES[name]))
    def check(content):
        image = decoded(content)
        assert image is None or np.array_equal(image, whole)

    check()


@pytest.mark.parametrize("name", EXACT_SIZE)
def test_netpbm_of_another_length_is_never_an_image(name):
    content = EXAMPLES[name]
    start = len(content) - 24 * 32 * {"ppm": 3, "pgm 16 bits": 2, "pbm": 1 / 8}[name]

    @fuzz(60)
    @given(
        place=st.integers(int(start), len(content)),
        data=st.binary(max_size=9),
        cut=st.integers(0, 9),
    )
    def check(place, data, cut):
        changed = content[:place] + data + content[place + cut :]
        if len(changed) != len(content) and changed not in (content + b"\n", content + b"\r\n"):
            assert decoded(changed) is None

    check()


@pytest.mark.parametrize("name", [name for name in EXAMPLES if name.startswith("jpeg")])
def test_a_truncated_jpeg_is_never_an_image(name):
    content = EXAMPLES[name]

    @fuzz(60)
    @given(
        end=st.integers(0, len(content) - 1), tail=st.sampled_from((b"", b"\xff\xd9", bytes(99)))
    )
    def check(end, tail):
        # The end mark glued on: only a progressive file that ends between two scans passes.
        if (image := decoded(content[:end] + tail)) is not None:
            assert end >= len(content) - 2 or name == "jpeg progressive" or tail == b"\xff\xd9"
            assert image.shape[:2] == (24, 32)

    check()


@fuzz(300)
@given(content=st.binary(max_size=300), head=st.sampled_from([c[:40] for c in EXAMPLES.values()]))
def test_noise_after_a_right_head_is_refused(content, head):
    decoded(head + content)
    decoded(content)
