"""A line of text on a picture."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

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
    text = " ".join(text.splitlines())  # PIL does not measure line breaks
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

    font = _font(size)
    while size > _SMALLEST and font.getlength(text) + 2 * _SPACE * size > width:
        size -= 1
        font = _font(size)
    space = round(_SPACE * size)
    ascent, descent = font.getmetrics()
    wide = min(width, round(font.getlength(text)) + 2 * space)
    image = Image.new("L", (wide, ascent + descent + 2 * space))
    ImageDraw.Draw(image).text((space, space), text, fill=255, font=font)
    return np.asarray(image, np.float32)[..., None] / 255


@lru_cache(maxsize=128)
def _font(size: int) -> Any:
    """DejaVu Sans, which matplotlib brings along: it has Greek, Cyrillic and Arabic letters too."""
    import matplotlib
    from PIL import ImageFont

    return ImageFont.truetype(
        str(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")), size
    )
