"""A line of text drawn on a picture."""

from functools import lru_cache
from typing import Any

import numpy as np

from jaxcnn.report.letters import runs, spelled

# Heights as shares of the picture's: of the letters, and of the space around them.
_LETTERS = 1 / 18
_SMALLEST = 8
_SPACE = 0.35
# How much of the picture is left behind the text.
_SEEN_THROUGH = 0.35


def captioned(pixels: np.ndarray, text: str) -> np.ndarray:
    """uint8[h, w, 3] RGB -> a copy with `text`, white on dark, in its upper left corner.

    Letters are a twentieth of the picture's height, or smaller where they would not fit its width.
    """
    height, width = pixels.shape[:2]
    text = spelled(" ".join(text.splitlines()))  # PIL does not measure line breaks
    letters = _line(text, max(_SMALLEST, round(height * _LETTERS)), width)[:height]
    drawn = pixels.copy()
    corner = drawn[: letters.shape[0], : letters.shape[1]]
    mixed = corner * (_SEEN_THROUGH * (1 - letters)) + 255 * letters
    corner[:] = np.rint(mixed).astype(np.uint8)
    return drawn


@lru_cache(maxsize=128)
def _line(text: str, size: int, width: int) -> np.ndarray:
    """float32[h, w, 1] of 0 (nothing) to 1 (a letter), at most `width` wide."""
    from PIL import Image, ImageDraw

    parts = list(runs(text))

    def length(size: int) -> float:
        return sum(_font(path, size).getlength(part) for part, path in parts)

    while size > _SMALLEST and length(size) + 2 * _SPACE * size > width:
        size -= 1
    space = round(_SPACE * size)
    metrics = [_font(path, size).getmetrics() for _, path in parts] or [(size, 0)]
    ascent, descent = (max(heights) for heights in zip(*metrics, strict=True))
    wide = min(width, round(length(size)) + 2 * space)
    image = Image.new("L", (wide, ascent + descent + 2 * space))
    place = float(space)
    for part, path in parts:
        font = _font(path, size)
        ImageDraw.Draw(image).text((place, space + ascent), part, fill=255, font=font, anchor="ls")
        place += font.getlength(part)
    return np.asarray(image, np.float32)[..., None] / 255


@lru_cache(maxsize=128)
def _font(path: str, size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.truetype(path, size)
