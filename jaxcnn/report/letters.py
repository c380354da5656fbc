"""Letters of the world in pictures: by a font of the machine that has them, or else as numbers."""

import logging
import unicodedata
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

logger = logging.getLogger(__name__)

# What each word is called that no font can draw, in the order in which they came.
_numbers: dict[str, int] = {}
# Scripts, by the first word of their letters' names, that this package of Debian and Ubuntu has.
_EAST_ASIAN = ("CJK", "HIRAGANA", "KATAKANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH")


def spelled(text: str) -> str:
    """Text as pictures can show it: a word with letters that no font has is a number, "#3". The
    same word has the same number in all pictures of a process, and the first one is told.
    """
    if not lacking(text):
        return text
    words = []
    for word in text.split(" "):
        if letters := lacking(word):
            if not _numbers:
                _warn(word, letters)
            word = f"#{_numbers.setdefault(word, len(_numbers) + 1)}"
        words.append(word)
    return " ".join(words)


def legend(texts: Collection[str]) -> str:
    """What the numbers in spelled texts stand for: "#1 = 猫, #2 = 狗"; "" where there are none."""
    shown = {word for text in texts for word in text.split(" ")}
    return ", ".join(f"#{n} = {word}" for word, n in _numbers.items() if f"#{n}" in shown)


def families(text: str) -> list[str]:
    """Names of the font families to draw a text with, one after another where a letter is missing;
    [] where matplotlib's own font has all its letters.
    """
    from matplotlib.font_manager import fontManager
    from matplotlib.ft2font import FT2Font

    paths = [path for path in _fonts(_missing(text)) if path != _own_font()]
    known = {entry.fname for entry in fontManager.ttflist}
    for path in paths:
        if path not in known:
            fontManager.addfont(path)
    return ["DejaVu Sans", *(FT2Font(path).family_name for path in paths)] if paths else []


def runs(text: str) -> Iterator[tuple[str, str]]:
    """(part of a text, the font file that has its letters), part after part."""
    fonts = [_own_font(), *_fonts(_missing(text))]
    start, font = 0, ""
    for place, letter in enumerate(text):
        able = [path for path in fonts if letter.isspace() or ord(letter) in _letters_of(path)]
        if font not in able and place > start and not unicodedata.combining(letter):
            yield text[start:place], font
            start, font = place, ""
        font = font if font in able else (able or fonts)[0]
    if text:
        yield text[start:], font


def lacking(text: str) -> frozenset[str]:
    """The letters of a text that no font of the machine has."""
    missing = _missing(text)
    have = set().union(*map(_letters_of, _fonts(missing)))
    return frozenset(letter for letter in missing if ord(letter) not in have)


def _missing(text: str) -> frozenset[str]:
    """The letters that matplotlib's own font lacks, without marks that have no look."""
    if text.isascii():
        return frozenset()
    have = _letters_of(_own_font())
    seen = (letter for letter in text if unicodedata.category(letter) not in ("Cf", "Mn", "Zs"))
    return frozenset(letter for letter in seen if ord(letter) not in have)


@cache
def _own_font() -> str:
    import matplotlib

    return str(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"))


@cache
def _letters_of(path: str) -> frozenset[int]:
    """The letters that a font file draws; none where it cannot be read or only has bitmaps."""
    from matplotlib.ft2font import FaceFlags, FT2Font

    try:
        font = FT2Font(path)
        scalable = FaceFlags.SCALABLE in FaceFlags(font.face_flags)
        return frozenset(font.get_charmap()) if scalable else frozenset()
    except (OSError, RuntimeError, ValueError):
        return frozenset()


@cache
def _fonts(letters: frozenset[str]) -> tuple[str, ...]:
    """A few font files of the machine with as many of the letters as can be, best looks first."""
    wanted, chosen = {ord(letter) for letter in letters}, []
    for path in _system_fonts() if wanted else ():
        if not wanted.isdisjoint(_letters_of(path)):
            chosen.append(path)
            wanted -= _letters_of(path)
        if not wanted:
            break
    return tuple(chosen)


@cache
def _system_fonts() -> list[str]:
    """Font files of the machine, regular ones without serifs first."""
    from matplotlib.font_manager import findSystemFonts, fontManager

    paths = {*findSystemFonts(), *(entry.fname for entry in fontManager.ttflist)}

    def looks(path: str) -> tuple[bool, bool, bool, str]:
        name = Path(path).name.lower()
        plain = not any(word in name for word in ("bold", "italic", "oblique", "light", "black"))
        return "sans" not in name, "regular" not in name, not plain, path

    # One font has a box for every letter there is.
    return sorted((p for p in paths if "lastresort" not in Path(p).name.lower()), key=looks)


def _warn(word: str, letters: frozenset[str]) -> None:
    first = {unicodedata.name(letter, "").split(" ")[0].split("-")[0] for letter in letters}
    package = "fonts-noto-cjk" if first & {*_EAST_ASIAN} else "fonts-noto-core"
    logger.warning(
        "no font of this machine has the letters of %r: pictures show numbers for such words, and "
        "pages say for which; a font that would do: apt install %s",
        word,
        package,
    )
