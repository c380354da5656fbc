"""A page is one file, and nothing in it is what somebody named a class."""

import numpy as np
import pytest

from jaxcnn.report.galleries import Gallery, Group, Tile, gallery_png, thumbnail
from jaxcnn.report.page import (
    Section,
    bar,
    chart,
    command,
    details,
    facts,
    figure,
    heading,
    join,
    marked,
    note,
    page,
    paragraph,
    picture,
    row,
    table,
    text,
)
from tests.report.pages import check_page

HOSTILE = '"><script>alert(1)</script>&'


def test_every_part_escapes_what_it_is_given():
    image = thumbnail(np.zeros((4, 4, 3), np.uint8))
    body = join(
        [
            paragraph(HOSTILE),
            table((HOSTILE,) * 4, [(HOSTILE, 3, 0.5, bar(0.5))]),
            details(HOSTILE, paragraph(HOSTILE)),
            note(HOSTILE, HOSTILE, HOSTILE, serious=True),
            heading(HOSTILE),
            facts({HOSTILE: HOSTILE}),
            command(HOSTILE),
            paragraph(marked(True, HOSTILE), marked(False, HOSTILE)),
            chart(image, image, HOSTILE, 4, 4),
            row([figure(picture(image, HOSTILE, 96), HOSTILE, HOSTILE)]),
        ]
    )
    sections = [Section(HOSTILE, body, HOSTILE), *(Section("Again", body) for _ in range(4))]
    reader = check_page(page(HOSTILE, sections, HOSTILE, HOSTILE))
    assert len(reader.all("section")) == 5


def test_numbers_are_separated_and_lost_characters_escaped():
    assert text(1234567) == "1,234,567"
    assert text("a\udcff") == "a\\udcff"
    assert text(text("a < b")) == "a &lt; b"
    assert table(("n", "s"), [("a", 1.5)]).count('class="number"') == 2  # the heading too
    assert '<td class="number">1,234</td><td>x</td>' in table(("n", "s"), [(1234, "x")])


@pytest.mark.parametrize(
    ("shape", "size"), [((8, 8, 1), (8, 8)), ((300, 200, 3), (96, 64)), ((500, 1, 3), (96, 1))]
)
def test_thumbnails_keep_their_ratio(shape, size):
    import cv2

    content = thumbnail(np.full(shape, 200, np.uint8))
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded.shape[:2] == size
    assert abs(int(decoded.mean()) - 200) < 3


def test_a_sheet_of_samples_shows_its_tiles_unchanged():
    import cv2

    small, tall = np.zeros((8, 8, 3), np.uint8), np.zeros((200, 100, 3), np.uint8)
    small[...], tall[...] = (10, 200, 90), (200, 10, 30)
    rows = [
        Group([Tile([small, tall], [], side=88)], "$x$"),
        Group([Tile([tall], [], side=88)], "b"),
    ]
    content = gallery_png(Gallery("samples", rows))
    sheet = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    assert (sheet == (90, 200, 10)).all(axis=2).sum() == 88 * 88  # each pixel is 11 across
    assert (sheet == (30, 10, 200)).all(axis=2).sum() == 2 * 88 * 44
