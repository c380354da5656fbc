"""Images read and decoded when they are needed, ahead of the training, by Grain's threads.

libjpeg-turbo, OpenCV and Pillow let go of Python's lock while they work, so threads keep all cores
busy without copying images between processes.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import lru_cache

import numpy as np

from jaxcnn.data.load import check_lost, load_crop, load_example
from jaxcnn.data.resize import crop_draws
from jaxcnn.data.source import Bad, Stream

Batch = dict[str, np.ndarray]

# Batches that are read ahead.
_AHEAD = 2
# Examples that a thread loads at once, at most: enough to hide Grain's cost per element.
_MOST_AT_ONCE = 64


def stream_batches(
    stream: Stream, rows: Callable[[int], Batch], numbers: range, seed: int | None
) -> Iterator[Batch]:
    """Yields the batches `rows(number)` for `numbers`, in order, with their images.

    seed: of the random crops of training, where a number is a step; None for evaluation.
    An image that cannot be read any more ends it all with a UserError, or with `on_bad_image`
    "skip" is masked out of its batch.
    """
    import cv2
    import grain

    if not numbers:
        return
    cv2.setNumThreads(1)  # the threads here are enough
    rows = lru_cache(maxsize=2 * _AHEAD + 2)(rows)
    batch_size = len(rows(numbers.start)["index"])
    # Few enough that each thread has a second part to go on with.
    at_once = min(_MOST_AT_ONCE, max(1, _AHEAD * batch_size // (2 * stream.workers)))
    parts = -(-batch_size // at_once)
    images = _Buffers((batch_size, *stream.shape))

    def load(element: int) -> list[Bad]:
        number, part = divmod(element, parts)
        mine = slice(part * at_once, (part + 1) * at_once)
        batch = {name: value[mine] for name, value in rows(number).items()}
        return _load(stream, batch, seed, number, images.of(number)[mine])

    elements = grain.MapDataset.range(numbers.start * parts, numbers.stop * parts)
    options = grain.ReadOptions(num_threads=stream.workers, prefetch_buffer_size=_AHEAD * parts)
    known: set[int] = set()
    with closing(iter(elements.map(load).to_iter_dataset(options))) as loaded:
        for number in numbers:
            lost = [one for _ in range(parts) for one in next(loaded)]
            batch = rows(number) | {"image": images.take(number)}
            if lost:
                new = tuple(one for one in lost if one.row not in known)
                check_lost(new, len(stream.label), stream.on_bad_image)
                known |= {one.row for one in lost}
                _mask_out(batch, [one.row for one in lost])
            yield batch


def _mask_out(batch: Batch, rows: list[int]) -> None:
    """Masks rows of a batch, and puts another image in their place, for BatchNorm's sake."""
    lost = np.isin(batch["index"], rows)
    batch["mask"] = batch["mask"] & ~lost
    if not lost.all():
        batch["image"][lost] = batch["image"][np.flatnonzero(~lost)[0]]


class _Buffers:
    """The images of batches under way, each written by many threads; made once and never reused,
    because a device may go on reading them.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._shape = shape
        self._arrays: dict[int, np.ndarray] = {}
        self._lock = threading.Lock()

    def of(self, number: int) -> np.ndarray:
        with self._lock:
            if number not in self._arrays:
                self._arrays[number] = np.empty(self._shape, np.uint8)
            return self._arrays[number]

    def take(self, number: int) -> np.ndarray:
        with self._lock:
            return self._arrays.pop(number)


def _load(
    stream: Stream, batch: Batch, seed: int | None, step: int, images: np.ndarray
) -> list[Bad]:
    """Writes a part of a batch into images uint8[n, H, W, C]; returns what cannot be used."""
    bad = []
    index = batch["index"]
    contents, _ = stream.source.read(index.astype(np.int64))
    crops = None
    if stream.crop_scale is not None and seed is not None:
        crops = crop_draws(seed, step, index, batch["epoch"])
    for place, (i, content) in enumerate(zip(index.tolist(), contents, strict=True)):
        row = images[place]
        try:
            if crops is None or stream.crop_scale is None:
                image = load_example(content, stream.decoding)
            else:
                size, scale = stream.shape[0], stream.crop_scale
                image = load_crop(content, stream.decoding, size, scale, crops[place], row)
            if image.shape != stream.shape:
                raise ValueError(f"has changed: it is {image.shape}, and was {stream.shape}")
            if image is not row:
                row[...] = image
        except ValueError as error:
            row[...] = 0
            bad.append(Bad(i, stream.source.name(i), str(error)))
    return bad
