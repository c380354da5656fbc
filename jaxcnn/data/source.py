"""What every data set looks like from inside: labelled images by number."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

# int64[n] -> (n images uint8[h, w, c], decoded, of any size; their labels int32[n])
Read = Callable[[np.ndarray], tuple[list[np.ndarray], np.ndarray]]


class Source(NamedTuple):
    """Random access to the labelled images of one split.

    size: number of examples.
    class_names: K names, in the order of the labels 0..K-1.
    read: decodes the examples of the given numbers.
    identity: a name that changes whenever the data do; the key of the cache.
    cached: False for what is made as fast as it is read.
    """

    size: int
    class_names: tuple[str, ...]
    read: Read
    identity: str
    cached: bool = True


class Images(NamedTuple):
    """Decoded images of one size: image uint8[N, H, W, C], label int32[N].

    `image` may be a read-only memory map of a cache file.
    """

    image: np.ndarray
    label: np.ndarray


@dataclasses.dataclass(frozen=True)
class Split:
    """The examples of one role (train, validation or test): rows int64[n] of `images`.

    A row's number is the example's `index` in a batch, so it stays the same whatever the split.
    """

    images: Images
    rows: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def label(self) -> np.ndarray:
        return self.images.label[self.rows]


class Dataset(NamedTuple):
    """The splits of a data set by role, and what its run directory's `dataset.json` says."""

    splits: dict[str, Split]
    class_names: tuple[str, ...]
    identity: str

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of every image."""
        height, width, channels = self.splits["train"].images.image.shape[1:]
        return height, width, channels
