"""What every data set looks like from inside: labelled images by number."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from jaxcnn.data.decode import Decoding
from jaxcnn.data.listing import LeftOut

# A file's bytes, or pixels (uint8 or uint16 [h, w] or [h, w, c]), or why neither could be read.
Content = bytes | np.ndarray | OSError
# int64[n] -> (the contents of n examples, their labels int32[n])
Read = Callable[[np.ndarray], tuple[list[Content], np.ndarray]]


class Source(NamedTuple):
    """Random access to the labelled images of one split, not yet decoded.

    size: number of examples.
    class_names: K names, in the order of the labels 0..K-1.
    read: the contents of the examples of the given numbers; safe to call from many threads.
    identity: a name that changes whenever the data do, but not where they are.
    stamp: what else the cache must notice: the files' places and times.
    name: what an example is called in messages, by its number.
    labels: gives int32[size], where the labels are known before anything is read.
    unit: uint64[size], a hash of what must not be split (a file, or all files of a group); None
      where each example stands alone and its number is its name.
    cached: False for what is read as fast as a cache would be.
    array: uint8[size, H, W, 1 or 3], where the contents are parts of one array.
    paths: of the files, below the data set's folder, where the examples are files.
    groups: the name of the group each example is of, where the data tell groups.
    left_out: what lies beside the examples and is none, see `jaxcnn.data.listing`.
    """

    size: int
    class_names: tuple[str, ...]
    read: Read
    identity: str
    stamp: str = ""
    name: Callable[[int], str] = "number {}".format
    labels: Callable[[], np.ndarray] | None = None
    unit: np.ndarray | None = None
    cached: bool = True
    array: np.ndarray | None = None
    paths: Sequence[str] | None = None
    groups: Sequence[str] | None = None
    left_out: LeftOut | None = None


class Bad(NamedTuple):
    """An example that cannot be used: its row, its name, and the reason ("is cut short").

    temporary: whether that may change while the file stays the same: it could not be read.
    """

    row: int
    name: str
    reason: str
    temporary: bool = False

    def __str__(self) -> str:
        return f"{self.name} {self.reason}"


class Images(NamedTuple):
    """Decoded images of one size: image uint8[N, H, W, C], label int32[N].

    `image` may be a read-only memory map of a cache file. bad: the rows that hold no image.
    """

    image: np.ndarray
    label: np.ndarray
    bad: tuple[Bad, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""
        height, width, channels = self.image.shape[1:]
        return height, width, channels


class Stream(NamedTuple):
    """Images that are decoded when a batch needs them, because all of them would not fit in memory.

    decoding: with its channels decided. shape: (H, W, C) of every image.
    crop_scale: (least, largest) share of the area that a random crop for training takes from the
      image as it is on disk; None: training sees what evaluation sees.
    workers: threads that read and decode.
    on_bad_image: what to do about an image that cannot be read any more: "error" or "skip".
    """

    source: Source
    decoding: Decoding
    label: np.ndarray
    shape: tuple[int, int, int]
    bad: tuple[Bad, ...] = ()
    crop_scale: tuple[float, float] | None = None
    workers: int = 1
    on_bad_image: str = "error"


@dataclasses.dataclass(frozen=True)
class Split:
    """The examples of one role (train, validation or test): rows int64[n] of `images`.

    A row's number is the example's `index` in a batch, so it stays the same whatever the split.
    source: what the images were read from.
    """

    images: Images | Stream
    rows: np.ndarray
    source: Source | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def label(self) -> np.ndarray:
        return self.images.label[self.rows]

    @property
    def paths(self) -> list[str] | None:
        """Of the examples' files; None where they are no files."""
        return self._of_rows(self.source.paths if self.source else None)

    @property
    def groups(self) -> list[str] | None:
        """The examples' groups; None where the data tell none."""
        return self._of_rows(self.source.groups if self.source else None)

    def _of_rows(self, values: Sequence[str] | None) -> list[str] | None:
        return None if values is None else [values[row] for row in self.rows.tolist()]


class Dataset(NamedTuple):
    """The splits of a data set by role.

    identity: a hash that changes with any example or split. decoding: of the images.
    mode: where images wait, "memory", "device" or "stream".
    """

    splits: dict[str, Split]
    class_names: tuple[str, ...]
    identity: str
    decoding: Decoding
    mode: str = "memory"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""
        return self.splits["train"].images.shape

    @property
    def bad(self) -> tuple[Bad, ...]:
        """The examples that no split uses because they cannot be decoded."""
        parts = {id(split.images): split.images for split in self.splits.values()}
        return tuple(bad for images in parts.values() for bad in images.bad)
