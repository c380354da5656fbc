"""The values that images of more than 8 bits use, and the window that suits them.

Cameras, microscopes and X-ray machines store 10 to 14 bits in files that declare 16. Scaled by what
the files declare, 12 bits become 17 grey levels of 256.
"""

import json
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Literal, NamedTuple

import numpy as np

from jaxcnn.data.cache import NewEntry, commit_entry, locate_entry, read_entry
from jaxcnn.data.damage import format_of
from jaxcnn.data.decode import Decoding, Raw, open_image
from jaxcnn.data.load import for_all, require_content
from jaxcnn.data.source import Content, Source
from jaxcnn.data.tiff import bits_of

logger = logging.getLogger(__name__)

Window = tuple[float, float] | Literal["file"] | None

# Names of files that never hold more than 8 bits: they are not even opened.
_EIGHT_BITS = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".mpo", ".gif", ".webp", ".bmp",
    ".dib", ".heic", ".heif", ".hif", ".avif",
)  # fmt: skip
# Where examples are no files, so many are looked at first: they are mostly alike.
_FIRST = 100
# Values that use less of the declared range than this get a window: at most 64 levels were left.
_SHARE = 1 / 4
# Steps of the declared range that values are counted in; the share of them that is nearly all.
_STEPS, _NEARLY_ALL = 4096, 0.999
# A file's own window makes sense where it leaves so many levels of 256.
_LEVELS = 8


class ValueRange(NamedTuple):
    """The values of all images of more than 8 bits together.

    number: of images. own: of those with a window of their own that makes sense.
    low, high: the least and the greatest value. declared: (low, high) of the widest range that a
      file declares. steps: of each 4096th of an image's declared range, how many values are in it.
    """

    number: int
    own: int
    low: float
    high: float
    declared: Sequence[float]
    steps: Sequence[int]

    @property
    def nearly_all(self) -> tuple[float, float]:
        """(low, high), between which 99.9 % of the values lie, as if all declared the same."""
        shares = np.cumsum(self.steps) / sum(self.steps)
        ends = np.searchsorted(shares, [(1 - _NEARLY_ALL) / 2, (1 + _NEARLY_ALL) / 2])
        low, high = self.declared
        step = (high - low + 1) / _STEPS
        return low + ends[0] * step, low + (ends[1] + 1) * step - 1


def measure(content: Content) -> ValueRange | None:
    """The values of one image; None where it has 8 bits or declares no range. Raises Damaged."""
    content = require_content(content)
    if not _is_deep(content):
        return None
    raw = open_image(content)
    if not isinstance(raw, Raw) or raw.pixels.dtype == np.uint8 or np.isnan(raw.low):
        return None
    colours = raw.pixels.shape[-1] - (raw.pixels.shape[-1] in (2, 4))
    pixels = raw.pixels[..., :colours]
    low, high = sorted((raw.low, raw.high))
    place = (pixels.astype(np.float64) - low) * (_STEPS / (high - low + 1))
    steps = np.bincount(place.clip(0, _STEPS - 1).astype(np.int64).ravel(), minlength=_STEPS)
    return ValueRange(
        1,
        int(_has_own_view(raw)),
        float(pixels.min()),
        float(pixels.max()),
        (float(low), float(high)),
        tuple(steps.tolist()),
    )


def _is_deep(content: bytes | np.ndarray) -> bool:
    """Whether an image may have more than 8 bits, by its header."""
    if isinstance(content, np.ndarray):
        return content.dtype != np.uint8
    kind = format_of(content)
    if kind == "png":
        return content[24:25] == b"\x10"
    return bits_of(content) > 8 if kind == "tiff" else kind in ("pnm", "dicom")


def _has_own_view(raw: Raw) -> bool:
    if raw.own is None:
        return False
    pixels, low, high = raw.own()
    ends = np.clip((np.array([pixels.min(), pixels.max()]) - low) / (high - low), 0, 1)
    return bool(np.ptp(ends) * 255 >= _LEVELS)


def _together(one: ValueRange | None, other: ValueRange | None) -> ValueRange | None:
    if one is None or other is None:
        return one or other
    return ValueRange(
        one.number + other.number,
        one.own + other.own,
        min(one.low, other.low),
        max(one.high, other.high),
        max(one.declared, other.declared, key=lambda ends: ends[1] - ends[0]),
        tuple(np.add(one.steps, other.steps).tolist()),
    )


def measure_source(
    source: Source, cache_dir: str | None = None, *, workers: int = 1
) -> ValueRange | None:
    """The values of all images of a source that have more than 8 bits; None where there are none.

    What is a JPEG by name is not opened; the result for all else is kept in the cache, so that a
    later start need not even import what reads it.
    """
    if source.array is not None:  # uint8
        return None
    names = (path.lower() for path in source.paths or ())
    rows = np.array([i for i, name in enumerate(names) if not name.endswith(_EIGHT_BITS)], np.int64)
    if source.paths is not None and not len(rows):
        return None

    def values() -> ValueRange | None:
        if source.paths is not None:
            return _measure_all(_part(source, rows), workers)
        first = np.unique(np.linspace(0, source.size - 1, min(source.size, _FIRST), dtype=int))
        return _measure_all(_part(source, first), 1) and _measure_all(source, workers)

    if not source.cached:
        return values()
    root, folder, what = locate_entry(source, Decoding(), "values", cache_dir)
    kept = read_entry(
        folder, lambda: json.loads((folder / "what.json").read_text("utf-8"))["values"]
    )
    if kept is not None:
        return ValueRange(*kept) if kept else None
    measured = values()
    try:
        with NewEntry(root) as temporary:
            commit_entry(temporary, folder, np.zeros(0), (), what | {"values": measured or ()})
    except OSError as error:
        logger.warning("not cached in %s: %s", root, error)
    return measured


def _part(source: Source, rows: np.ndarray) -> Source:
    read: Callable = source.read
    return source._replace(size=len(rows), read=lambda index: read(rows[index]))


def _measure_all(source: Source, workers: int) -> ValueRange | None:
    total = None
    for _, ranges, _ in for_all(source, partial(measure), workers, "measured"):
        for one in ranges:
            total = _together(total, one) if isinstance(one, ValueRange) else total
    return total


def choose_window(values: ValueRange | None) -> Window:
    """The window that suits the values: None where they use the range that is declared, the files'
    own where all have one, else the range in use; from 0 on to a whole number of bits.
    """
    if values is None:
        return None
    low, high = values.declared
    if values.high - values.low >= _SHARE * (high - low):
        return None
    if values.own == values.number:
        return "file"
    bits = 2 ** int(values.high).bit_length() - 1
    if low == 0 and 2 * (values.high - values.low) >= bits:
        return 0.0, float(bits)
    return (values.low, values.high) if values.low < values.high else None


def log_window(values: ValueRange | None, window: Window) -> None:
    """Logs a window that was chosen, or that the values lie close together and none was."""
    if values is None:
        return
    low, high = values.declared
    declared = (
        f"{values.number:,} images of more than 8 bits that declare {low:,.0f} to {high:,.0f}"
    )
    if window == "file":
        message = "each is shown by its own window (DICOM's WindowCenter and WindowWidth)"
    elif window is not None:
        message = f"config.data.window=({window[0]:g}, {window[1]:g}) is used"
    else:
        least, most = values.nearly_all
        if most - least < _SHARE * (high - low):
            logger.warning(
                "%s: 99.9 %% of their values are %s to %s, which are few levels of 256; give "
                "--config.data.window='(LOW, HIGH)' if more should be told apart",
                declared,
                f"{least:,.0f}",
                f"{most:,.0f}",
            )
        return
    used = f"{values.low:,.0f} to {values.high:,.0f}"
    logger.info("%s hold %s: %s", declared, used, message)
