"""Examples of a data set inspected: whether they can be read, what they are, which are copies.

Nothing decoded is kept, only some 150 bytes an example, so that large data sets fit.
"""

import hashlib
import logging
import math
from collections.abc import Mapping
from functools import partial
from typing import NamedTuple

import numpy as np

from jaxcnn.data.damage import format_of
from jaxcnn.data.decode import (
    ODD_ALPHA,
    Decoding,
    Raw,
    open_image,
    partly_clear,
    read_image,
    to_pixels,
)
from jaxcnn.data.load import for_all, require_content
from jaxcnn.data.resize import fit, shorter_side
from jaxcnn.data.shrink import shrink
from jaxcnn.data.source import Bad, Content, Dataset, Source
from jaxcnn.data.splits import ROLES

logger = logging.getLogger(__name__)

# Pixels of the shorter side that colours are counted on where no image size is given; JPEGs of
# twice that and more are decoded at a smaller scale.
_ENOUGH = 256
_MODES = {1: "grey", 2: "grey + alpha", 3: "RGB", 4: "RGBA"}


class Look(NamedTuple):
    """Facts about one example.

    content: two halves of a 128-bit hash of the file's bytes or the array's pixels.
    format: "jpeg", "png", ..., or "array". mode: "grey", "RGB", "16-bit grey", "RGBA", ...
    size: (height, width), upright, before it is fitted.
    histogram: int64[1 or 3, 256], how often each level occurs in the fitted pixels of a channel.
    odd_alpha: whether it has an alpha channel that does not look like one.
    """

    content: tuple[int, int]
    format: str
    mode: str
    size: tuple[int, int]
    histogram: np.ndarray
    odd_alpha: bool = False


class Examples(NamedTuple):
    """All N examples of a data set, one part (what a source brought along) after another.

    sources: by part. start: the number of each part's first example.
    label: int32[N]. content: uint64[N, 2], 0 for examples that cannot be used.
    format, mode: N names, "" for those. size: int32[N, 2], height and width, 0 for those.
    sums: int64[N, 3, 2] of levels and of their squares; a grey image counts as three channels.
    pixels: int64[N], how many the sums are of. plain: bool[N], all pixels are the same.
    odd_alpha: bool[N], see `Look`. levels: int64[256], how often each level occurs in all images.
    bad: why examples cannot be used, by number.
    """

    sources: dict[str, Source]
    start: dict[str, int]
    label: np.ndarray
    content: np.ndarray
    format: list[str]
    mode: list[str]
    size: np.ndarray
    sums: np.ndarray
    pixels: np.ndarray
    plain: np.ndarray
    odd_alpha: np.ndarray
    levels: np.ndarray
    bad: dict[int, str]

    def __len__(self) -> int:
        return len(self.label)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.sources["train"].class_names

    @property
    def usable(self) -> np.ndarray:
        """int64[n], the numbers of the examples that can be used."""
        return np.flatnonzero(self.pixels)

    def part(self, number: int) -> tuple[str, int]:
        """The part an example came with, and its row there."""
        part = max((p for p in self.start if self.start[p] <= number), key=self.start.__getitem__)
        return part, number - self.start[part]

    def name(self, number: int) -> str:
        """What an example is called: its path, or its number."""
        part, row = self.part(number)
        return self.sources[part].name(row).removesuffix(":")

    def class_name(self, number: int) -> str:
        return self.class_names[self.label[number]]

    def rows(self, part: str) -> slice:
        """The numbers of a part's examples."""
        return slice(self.start[part], self.start[part] + self.sources[part].size)

    def bad_of(self, part: str) -> tuple[Bad, ...]:
        """A part's examples that cannot be used."""
        rows, name = self.rows(part), self.sources[part].name
        numbers = sorted(n for n in self.bad if rows.start <= n < rows.stop)
        return tuple(Bad(n - rows.start, name(n - rows.start), self.bad[n]) for n in numbers)

    def statistics(self, numbers: np.ndarray) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of red, green and blue over 0..1, of some examples."""
        pixels = self.pixels[numbers].sum()
        mean, square = (self.sums[numbers].sum(axis=0) / pixels / [255, 255**2]).T
        return mean.tolist(), np.sqrt(np.maximum(square - mean**2, 0)).tolist()


def inspect_sources(sources: Mapping[str, Source], decoding: Decoding, workers: int) -> Examples:
    """Decodes every example once, with `workers` threads, and notes the facts about it."""
    total = sum(source.size for source in sources.values())
    starts = np.cumsum([0] + [source.size for source in sources.values()]).tolist()
    examples = Examples(
        sources=dict(sources),
        start=dict(zip(sources, starts, strict=False)),
        label=np.zeros(total, np.int32),
        content=np.zeros((total, 2), np.uint64),
        format=[""] * total,
        mode=[""] * total,
        size=np.zeros((total, 2), np.int32),
        sums=np.zeros((total, 3, 2), np.int64),
        pixels=np.zeros(total, np.int64),
        plain=np.zeros(total, bool),
        odd_alpha=np.zeros(total, bool),
        levels=np.zeros(256, np.int64),
        bad={},
    )
    work = partial(look, decoding=decoding)
    for part, source in sources.items():
        for index, looks, label in for_all(source, work, workers, "looked at"):
            numbers = examples.start[part] + index
            examples.label[numbers] = label
            for number, one in zip(numbers.tolist(), looks, strict=True):
                if isinstance(one, Bad):
                    examples.bad[number] = one.reason
                else:
                    _note(examples, number, one)
    return examples


def look(content: Content, decoding: Decoding) -> Look:
    """Decodes one example as training does; ValueError with the reason where that fails."""
    import cv2

    content = require_content(content)
    kind = "array" if isinstance(content, np.ndarray) else format_of(content)
    opened = open_image(content)
    raw = read_image(opened, shorter_side(decoding) or _ENOUGH)
    seen = shrink(opened, decoding)
    pixels = to_pixels(
        raw if seen is opened else read_image(seen, shorter_side(decoding)), decoding
    )
    image = np.ascontiguousarray(fit(pixels, decoding, seen.size))
    histogram = [
        cv2.calcHist([image], [channel], None, [256], [0, 256]).ravel()
        for channel in range(image.shape[2])
    ]
    counts = np.array(histogram).astype(np.int64)
    odd = raw.pixels.shape[-1] in (2, 4) and partly_clear(raw.pixels) > ODD_ALPHA
    return Look(_hash(content), kind, _mode(raw), opened.size, counts, odd)


def _note(examples: Examples, number: int, look: Look) -> None:
    levels = np.arange(256)
    examples.content[number] = look.content
    examples.format[number] = look.format
    examples.mode[number] = look.mode
    examples.size[number] = look.size
    examples.sums[number] = np.stack([look.histogram @ levels, look.histogram @ levels**2], axis=1)
    examples.pixels[number] = look.histogram[0].sum()
    examples.odd_alpha[number] = look.odd_alpha
    examples.levels[:] += look.histogram.sum(axis=0)
    examples.plain[number] = (np.count_nonzero(look.histogram, axis=1) == 1).all()


def _hash(content: bytes | np.ndarray) -> tuple[int, int]:
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(content, np.ndarray):
        digest.update(f"{content.dtype}{content.shape}".encode())
        content = np.ascontiguousarray(content).tobytes()
    digest.update(content)
    halves = digest.digest()
    return int.from_bytes(halves[:8], "little"), int.from_bytes(halves[8:], "little")


def _mode(raw: Raw) -> str:
    levels = abs(raw.high - raw.low) + 1
    depth = f"{math.ceil(math.log2(levels))}-bit " if levels > 256 else ""
    return depth + _MODES[raw.pixels.shape[-1]]


def roles_of(examples: Examples, dataset: Dataset, images: Mapping[str, object]) -> np.ndarray:
    """Returns the split each example is in: N names, "" for those in none.

    images: by part, what `dataset` was made of.
    """
    roles = np.full(len(examples), "", dtype="<U10")
    for role, split in dataset.splits.items():
        part = next(part for part, these in images.items() if these is split.images)
        roles[examples.start[part] + split.rows] = role
    return roles


class Copies(NamedTuple):
    """The numbers of two or more examples with the same content, and where they stand; first one
    of each label in each split.

    labels, roles: the different ones among them.
    """

    numbers: tuple[int, ...]
    labels: tuple[int, ...]
    roles: tuple[str, ...]


def find_copies(examples: Examples, roles: np.ndarray) -> list[Copies]:
    """Returns all groups of examples that are the same; first those that do harm.

    roles: the split each example is in, see `roles_of`.
    """
    usable = examples.usable
    if not len(usable):
        return []
    content = examples.content[usable]
    order = np.lexsort(content.T)  # equal ones stay in order, as the sort is stable
    new = (content[order][1:] != content[order][:-1]).any(axis=1)
    starts = np.flatnonzero(np.concatenate([[True], new]))
    ends = np.append(starts[1:], len(usable))
    copies = []
    for start, end in zip(starts[ends - starts > 1], ends[ends - starts > 1], strict=True):
        group = usable[order[start:end]]
        labels = tuple(np.unique(examples.label[group]).tolist())
        present = set(roles[group].tolist())
        roles_in_order = tuple(role for role in (*ROLES, "") if role in present)
        numbers = _distinct_first(group, examples.label, roles)
        copies.append(Copies(numbers, labels, roles_in_order))
    return sorted(copies, key=lambda c: (-len(c.labels), -len(c.roles), c.numbers))


class Leak(NamedTuple):
    """A group of examples that stands in more than one split. numbers: of those in any split."""

    name: str
    numbers: tuple[int, ...]


def find_leaks(examples: Examples, roles: np.ndarray) -> list[Leak]:
    """Returns all groups of which one split has some examples and another has others."""
    units = [source.unit for source in examples.sources.values()]
    if any(unit is None for unit in units):
        return []
    _, group = np.unique(
        np.concatenate([unit for unit in units if unit is not None]), return_inverse=True
    )
    member = np.zeros((group.max() + 1, len(ROLES)), bool)
    for k, role in enumerate(ROLES):
        member[group[roles == role], k] = True
    order = np.argsort(group, kind="stable")
    ends = np.cumsum(np.bincount(group))
    leaks = []
    for k in np.flatnonzero(member.sum(axis=1) > 1).tolist():
        numbers = [n for n in order[ends[k - 1] if k else 0 : ends[k]].tolist() if roles[n]]
        part, row = examples.part(numbers[0])
        groups = examples.sources[part].groups
        leaks.append(Leak(groups[row] if groups else examples.name(numbers[0]), tuple(numbers)))
    return sorted(leaks, key=lambda leak: leak.numbers)


def _distinct_first(group: np.ndarray, label: np.ndarray, roles: np.ndarray) -> tuple[int, ...]:
    """Returns the numbers of a group, the first of each label in each split before the others."""
    numbers = group.tolist()
    first = set({(label[n], roles[n]): n for n in reversed(numbers)}.values())
    return (*sorted(first), *(n for n in numbers if n not in first))
