"""Figures, as the bytes of PNG files. Matplotlib's Figure objects are used without pyplot, which
keeps every figure alive and wants a window system.
"""

import io
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 100
# Pixels of a tile in the contact sheet, and of the space between groups of tiles.
_TILE, _GAP = 88, 12
# Pixels for a row's name, and for the heading of columns.
_MARGIN, _HEADING = 150, 40


class Row(NamedTuple):
    """A row of a contact sheet: its name, and groups of tiles uint8[h, w, 1 or 3]."""

    name: str
    groups: Sequence[Sequence[np.ndarray]]


def contact_sheet(rows: Sequence[Row], headings: Sequence[str]) -> bytes:
    """Tiles in rows, in groups side by side, as a PNG. headings: of each group."""
    from matplotlib.figure import Figure

    groups = max(len(row.groups) for row in rows)
    columns = max(len(group) for row in rows for group in row.groups)
    group_width = columns * (_TILE + 2) + _GAP
    width = _MARGIN + groups * group_width
    height = _HEADING + len(rows) * (_TILE + _GAP)
    canvas = np.full((height, width, 3), 255, np.uint8)
    figure = Figure((width / _DPI, height / _DPI), dpi=_DPI)
    for position, heading in enumerate(headings):
        left = (_MARGIN + position * group_width) / width
        figure.text(left, 1 - 14 / height, heading, fontsize=9, va="top", color="0.35")
    for line, row in enumerate(rows):
        top = _HEADING + line * (_TILE + _GAP)
        name = row.name if len(row.name) <= 20 else row.name[:19] + "…"
        place = (_MARGIN - 10) / width, 1 - (top + _TILE / 2) / height
        figure.text(*place, name, fontsize=9, ha="right", va="center", parse_math=False)
        for position, group in enumerate(row.groups):
            for column, image in enumerate(group):
                tile = fitted(image, _TILE)
                y = top + (_TILE - tile.shape[0]) // 2
                x = _MARGIN + position * group_width + column * (_TILE + 2)
                canvas[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    figure.figimage(canvas, origin="upper")
    return to_png(figure)


def fitted(image: np.ndarray, side: int) -> np.ndarray:
    """uint8[h, w, c] as large as `side` pixels allow: shrunk by area means, or its pixels repeated
    a whole number of times.
    """
    from jaxcnn.data.resize import resize

    height, width = image.shape[:2]
    times = max(1, side // max(height, width))
    scale = min(1, side / max(height, width))
    image = resize(image, (max(1, round(height * scale)), max(1, round(width * scale))))
    return image.repeat(times, axis=0).repeat(times, axis=1)


def to_png(figure: "Figure") -> bytes:
    """A figure as a PNG file's bytes."""
    content = io.BytesIO()
    with warnings.catch_warnings():
        # A name in a script that the font lacks is drawn as boxes; nothing can be done about it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        figure.savefig(content, format="png", dpi="figure")
    return content.getvalue()


def thumbnail(image: np.ndarray, size: int = 96) -> bytes:
    """uint8[h, w, 1 or 3] as a PNG (small) or JPEG file, its longer side `size` pixels or fewer."""
    import cv2

    from jaxcnn.data.resize import resize

    height, width = image.shape[:2]
    scale = min(1, size / max(height, width))
    image = resize(image, (max(1, round(height * scale)), max(1, round(width * scale))))
    kind = ".png" if max(height, width) <= 48 else ".jpg"
    colours = image if image.shape[2] == 1 else np.ascontiguousarray(image[..., ::-1])
    quality = [cv2.IMWRITE_JPEG_QUALITY, 88] if kind == ".jpg" else []
    return cv2.imencode(kind, colours, quality)[1].tobytes()
