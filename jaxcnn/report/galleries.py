"""Galleries of images and of what the model says about them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jaxcnn.errors import printable
from jaxcnn.report.page import Html, figure, heading, join, marked, paragraph, picture, row, text
from jaxcnn.report.style import LIGHT, short_name, to_png

# Pixels of a tile's longer side; of the space between tiles; across a whole gallery.
SIDE, _GAP, _WIDTH = 112, 12, 1128
# Pixels of a line of a caption, of a group's heading, and of the title.
_LINE, _HEADING, _TITLE = 14, 26, 34
_DPI = 100
# Pixels that a character of a caption takes.
_CHARACTER = 5.8
# Photos are kept with more pixels than are shown, for screens that have them.
_DENSITY = 1.5


class Tile(NamedTuple):
    """Images side by side with a caption below.

    images: uint8[h, w, 1 or 3] each; they are shown with `side` pixels or fewer along the longer
      side. lines: the caption. name: the file or number, for those who look for it.
    right: whether a prediction is right, where there is one.
    """

    images: Sequence[np.ndarray]
    lines: Sequence[str]
    name: str = ""
    right: bool | None = None
    side: int = SIDE


class Group(NamedTuple):
    """Tiles that belong together. heading: "" for none."""

    tiles: Sequence[Tile]
    heading: str = ""


class Gallery(NamedTuple):
    """Groups under a title. empty: what is said where there are no tiles."""

    title: str
    groups: Sequence[Group]
    empty: str = "Nothing to show."

    @property
    def has_tiles(self) -> bool:
        return any(group.tiles for group in self.groups)

    def __repr__(self) -> str:
        count = sum(len(group.tiles) for group in self.groups)
        return f"Gallery({self.title!r}, {count} tiles)"

    def _repr_png_(self) -> bytes:
        """The picture that a notebook shows."""
        return gallery_png(self)


def gallery_png(gallery: Gallery) -> bytes:
    """The whole gallery as one PNG on white paper: for a file, a notebook, TensorBoard."""
    from matplotlib.figure import Figure

    places, height = _arrange(gallery)
    canvas = np.full((height, _WIDTH, 3), 255, np.uint8)
    whole = Figure((_WIDTH / _DPI, height / _DPI), dpi=_DPI)
    for x, y, what in places:
        if isinstance(what, Tile):
            _draw_tile(canvas, x, y, what)
            lines, size = list(_caption(what)), 7.5
            y += max(image.shape[0] for image in _shown(what)) + 5
        else:
            lines, size = [what], 11 if y == _GAP else 9
        for line, words in enumerate(lines):
            place = x / _WIDTH, 1 - (y + line * _LINE) / height
            words = short_name(words, int((_WIDTH - x) / _CHARACTER))
            color = LIGHT.soft if line else LIGHT.ink
            whole.text(*place, words, fontsize=size, color=color, va="top", parse_math=False)
    whole.figimage(canvas, origin="upper")
    return to_png(whole)


def gallery_html(gallery: Gallery) -> Html:
    """Figures with captions as text."""
    if not gallery.has_tiles:
        return paragraph(gallery.empty)
    return join(
        join([heading(group.heading, 4) if group.heading else "", row(map(_figure, group.tiles))])
        for group in gallery.groups
    )


def _arrange(gallery: Gallery) -> tuple[list[tuple[int, int, Tile | str]], int]:
    """Places of titles and tiles, in pixels from the top left corner; and the height of it all.

    Tiles stand from left to right, each group on a line of its own.
    """
    y = _TITLE + _GAP
    places: list[tuple[int, int, Tile | str]] = [(_GAP, _GAP, gallery.title)]
    if not gallery.has_tiles:
        return [*places, (_GAP, y, gallery.empty)], y + _HEADING
    for group in gallery.groups:
        if group.heading:
            places.append((_GAP, y, group.heading))
            y += _HEADING
        x, tallest = _GAP, 0
        for tile in group.tiles:
            width, height = _size(tile)
            if x > _GAP and x + width > _WIDTH - _GAP:
                x, y, tallest = _GAP, y + tallest + _GAP, 0
            places.append((x, y, tile))
            x, tallest = x + width + _GAP, max(tallest, height)
        y += tallest + _GAP
    return places, y


def _shown(tile: Tile) -> list[np.ndarray]:
    return [fitted(image, tile.side) for image in tile.images]


def _size(tile: Tile) -> tuple[int, int]:
    """Pixels across and down, with the caption."""
    images = _shown(tile)
    width = sum(image.shape[1] for image in images) + 4 * (len(images) - 1)
    height = max(image.shape[0] for image in images)
    lines = len(tile.lines) + len(_broken(tile.name, across := max(width, SIDE)))
    return across, height + 8 + _LINE * lines


def _broken(name: str, across: int) -> list[str]:
    """The whole name in lines of so many pixels."""
    shown, fits = printable(name), int(across / _CHARACTER)
    return [shown[start : start + fits] for start in range(0, len(shown), fits)]


def _caption(tile: Tile) -> Iterator[str]:
    """The lines as they fit below the tile, and the whole name. A right and a wrong one differ by
    their sign too.
    """
    across, _ = _size(tile)
    fits = int(across / _CHARACTER)
    for line, words in enumerate(tile.lines):
        sign = "" if line or tile.right is None else "✓ " if tile.right else "✗ "
        yield sign + short_name(words, fits - len(sign))
    yield from _broken(tile.name, across)


def _draw_tile(canvas: np.ndarray, x: int, y: int, tile: Tile) -> None:
    images = _shown(tile)
    if tile.right is not None:
        height, width = images[0].shape[:2]
        thick = 2 if tile.right else 4
        color = LIGHT.lines[2] if tile.right else LIGHT.lines[1]
        rgb = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
        canvas[y - thick : y + height + thick, x - thick : x + width + thick] = rgb
    for image in images:
        height, width = image.shape[:2]
        space = canvas[y : y + height, x : x + width]
        space[...] = image[: space.shape[0], : space.shape[1]]
        x += width + 4


def fitted(image: np.ndarray, side: int) -> np.ndarray:
    """uint8[h, w, c] as large as `side` pixels allow: shrunk by area means, or its pixels repeated
    a whole number of times.
    """
    image = _shrunk(image, side)
    times = max(1, side // max(image.shape[:2]))
    return image.repeat(times, axis=0).repeat(times, axis=1)


def thumbnail(image: np.ndarray, size: int = 96) -> bytes:
    """uint8[h, w, 1 or 3] as a PNG (small) or JPEG file, its longer side `size` pixels or fewer."""
    import cv2

    kind = ".png" if max(image.shape[:2]) <= 48 else ".jpg"
    image = _shrunk(image, size)
    colours = image if image.shape[2] == 1 else np.ascontiguousarray(image[..., ::-1])
    quality = [cv2.IMWRITE_JPEG_QUALITY, 88] if kind == ".jpg" else []
    return cv2.imencode(kind, colours, quality)[1].tobytes()


def _shrunk(image: np.ndarray, side: int) -> np.ndarray:
    from jaxcnn.data.resize import resize

    height, width = image.shape[:2]
    scale = min(1, side / max(height, width))
    return resize(image, (max(1, round(height * scale)), max(1, round(width * scale))))


def _figure(tile: Tile) -> Html:
    pictures, across = [], 0
    for number, image in enumerate(tile.images, 1):
        width = fitted(image, tile.side).shape[1]
        across += width + 4
        small = thumbnail(image, round(tile.side * _DENSITY))
        part = f", picture {number} of {len(tile.images)}" if len(tile.images) > 1 else ""
        pictures.append(picture(small, (tile.name or tile.lines[0]) + part, width))
    # A percent sign stays with its number.
    lines: list[object] = [line.replace(" %", "\u00a0%") for line in tile.lines]
    if tile.right is not None:
        lines[0] = marked(tile.right, lines[0])
    if tile.name:
        lines.append(Html(f'<span class="name">{text(printable(tile.name))}</span>'))
    return figure(join(pictures), *lines, width=max(across, SIDE))


class Prediction(NamedTuple):
    """An image, its label, and the model's answer. image: uint8[h, w, 1 or 3] of any size."""

    image: np.ndarray
    name: str
    label: str
    prediction: str
    probability: float

    @property
    def right(self) -> bool:
        return self.label == self.prediction


class Neighbour(NamedTuple):
    """An image near another one. distance: between their features."""

    image: np.ndarray
    name: str
    label: str
    distance: float


def confidently_wrong(
    label: np.ndarray, probabilities: np.ndarray, at_most: int = 24
) -> np.ndarray:
    """Positions int64[n] of the misclassified, the most confident first.

    label: int[N]; probabilities: float[N, K].
    """
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != label)
    confidence = probabilities[wrong].max(axis=1)
    return wrong[np.argsort(-confidence, kind="stable")[:at_most]]


def sample_predictions(predictions: Iterable[Prediction]) -> Gallery:
    """A gallery of predictions in their order, each marked as right or wrong."""
    return Gallery("Predictions", [Group([tile_of(one) for one in predictions])])


def misclassified(predictions: Iterable[Prediction]) -> Gallery:
    """A gallery of the wrong ones among predictions, the most confident first."""
    wrong = sorted((p for p in predictions if not p.right), key=lambda p: -p.probability)
    return Gallery(
        "Misclassified, the most confidently wrong first",
        [Group([tile_of(one) for one in wrong])],
        empty="No image was misclassified.",
    )


def likely_label_errors(predictions: Iterable[Prediction]) -> Gallery:
    """Images whose label may be a mistake. prediction: the label that the model suggests."""
    tiles = [
        Tile([one.image], [f"label {one.label}", f"perhaps {one.prediction}"], one.name)
        for one in predictions
    ]
    return Gallery("Likely label errors", [Group(tiles)], empty="No label looks like a mistake.")


def nearest_neighbours(
    queries: Sequence[Prediction], neighbours: Sequence[Sequence[Neighbour]]
) -> Gallery:
    """A row for each image: itself, then what is nearest to it in the model's features.

    A neighbour counts as right where it has the image's label.
    """
    rows = []
    for query, near in zip(queries, neighbours, strict=True):
        tiles = [
            Tile([x.image], [x.label, f"distance {x.distance:.3g}"], x.name, x.label == query.label)
            for x in near
        ]
        rows.append(Group([tile_of(query), *tiles]))
    return Gallery("Nearest neighbours: the image first, then those most like it", rows)


def tile_of(one: Prediction) -> Tile:
    """A picture with the model's answer and the label below."""
    lines = [f"{one.prediction} ({100 * one.probability:.0f} %)", f"label {one.label}"]
    return Tile([one.image], lines, one.name, one.right)
