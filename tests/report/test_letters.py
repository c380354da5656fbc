"""Names in any script can be told apart in pictures: by a font of the machine, or by numbers."""

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from jaxcnn.report import letters
from jaxcnn.report.caption import captioned
from jaxcnn.report.class_charts import confusion_chart
from jaxcnn.report.galleries import Gallery, Group, Tile, gallery_png
from jaxcnn.report.page import chart
from jaxcnn.report.style import in_both_themes, to_png

NAMES = {
    "Chinese": ("猫猫", "狗狗"),
    "Japanese": ("ネコ", "イヌ"),
    "Korean": ("고양이", "강아지"),
    "Hindi": ("बिल्ली", "कुत्ता"),
    "Thai": ("แมว", "หมา"),
    "Arabic": ("قطة", "كلب"),
    "Hebrew": ("חתול", "כלב"),
    "Greek": ("γάτα", "σκύλος"),
    "cats and dogs": ("🐱", "🐶"),
    "mixed": ("cat 猫", "cat 狗"),
}
CONFUSION = np.array([[3, 1], [1, 3]])


@pytest.fixture
def fonts(monkeypatch):
    """No other font than matplotlib's; or those that a test adds to the list."""
    paths: list[str] = []
    monkeypatch.setattr(letters, "_system_fonts", lambda: paths)
    monkeypatch.setattr(letters, "_numbers", {})
    letters._fonts.cache_clear()
    yield paths
    letters._fonts.cache_clear()


def font_file(path, text):
    """A font of bars: each letter of the text has one of another height."""
    builder = FontBuilder(1000, isTTF=True)
    names = {letter: f"u{ord(letter):04X}" for letter in text}
    builder.setupGlyphOrder([".notdef", *names.values()])
    builder.setupCharacterMap({ord(letter): name for letter, name in names.items()})
    glyphs = {}
    for k, name in enumerate([".notdef", *names.values()]):
        pen = TTGlyphPen(None)
        top = 200 + 100 * k
        pen.moveTo((100, 0))
        for point in ((100, top), (800, top), (800, 0)):
            pen.lineTo(point)
        pen.closePath()
        glyphs[name] = pen.glyph()
    builder.setupGlyf(glyphs)
    builder.setupHorizontalMetrics(dict.fromkeys(glyphs, (900, 100)))
    builder.setupHorizontalHeader(ascent=1000, descent=-200)
    builder.setupNameTable({"familyName": "Bars", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=1000, usWinAscent=1000, usWinDescent=200)
    builder.setupPost()
    builder.save(path)
    return str(path)


def gallery(name):
    tile = Tile((np.zeros((8, 8, 3), np.uint8),), (name,))
    return gallery_png(Gallery("title", (Group((tile,)),)))


@pytest.mark.parametrize("script", NAMES)
def test_two_names_are_never_the_same_picture(fonts, script):
    one, other = NAMES[script]
    first = to_png(confusion_chart(CONFUSION, [one, other]))
    assert first != to_png(confusion_chart(CONFUSION, [other, one]))
    frame = np.zeros((200, 300, 3), np.uint8)
    assert (captioned(frame, one) != captioned(frame, other)).any()
    assert gallery(one) != gallery(other)


def test_without_a_font_there_are_numbers_a_legend_and_one_line(fonts, caplog):
    drawn = in_both_themes(
        lambda theme: confusion_chart(CONFUSION, ["猫猫", "cat 狗"], theme=theme)
    )
    assert drawn.legend == "#1 = 猫猫, #2 = 狗"
    assert "<figcaption>#1 = 猫猫, #2 = 狗</figcaption>" in chart(*drawn)
    assert len(caplog.records) == 1
    assert "no font of this machine has the letters of '猫猫'" in caplog.text
    assert "apt install fonts-noto-cjk" in caplog.text
    assert letters.spelled("dog 狗 and 猫猫") == "dog #2 and #1"
    plain = in_both_themes(lambda theme: confusion_chart(CONFUSION, ["cat", "γάτα"], theme=theme))
    assert plain.legend == "" and "figcaption" not in chart(*plain)


def test_the_line_names_the_package_for_other_scripts(fonts, caplog):
    assert letters.spelled("แมว") == "#1"
    assert "apt install fonts-noto-core" in caplog.text


def test_a_font_of_the_machine_is_used(fonts, tmp_path, caplog):
    fonts.append(font_file(tmp_path / "bars.ttf", "猫狗"))
    assert letters.families("猫 cat") == ["DejaVu Sans", "Bars"]
    assert letters.spelled("猫狗 cat") == "猫狗 cat" and not caplog.records
    assert [part for part, _ in letters.runs("cat 猫狗 dog")] == ["cat ", "猫狗 ", "dog"]
    drawn = in_both_themes(lambda theme: confusion_chart(CONFUSION, ["猫", "狗"], theme=theme))
    assert drawn.legend == ""
    frame = np.zeros((200, 300, 3), np.uint8)
    cat, dog = captioned(frame, "猫"), captioned(frame, "狗")
    assert (cat != dog).any()
    assert letters.spelled("猫 鸟") == "猫 #1"  # which the font lacks
