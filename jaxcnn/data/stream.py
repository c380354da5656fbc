"""Images read and decoded when they are needed, ahead of the training, by Grain's threads.

libjpeg-turbo, OpenCV and Pillow let go of Python's lock while they work, so threads keep all cores
busy without copying images between processes.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import lru_cache

import numpy as np

from jaxcnn.data.load import judge_lost, load_crop, load_example
from jaxcnn.data.resize import crop_draws
from jaxcnn.data.source import Bad, Stream

Batch = dict[str, np.ndarray]

# Examples a thread loads at once: enough to hide Grain's cost per element, few enough that all
# threads share a batch.
_PART = 16
# Batches that are read ahead.
_AHEAD = 2


def stream_batches(
    stream: Stream, rows: Callable[[int], Batch], numbers: range, seed: int | None
) -> Iterator[Batch]:
    """The batches `rows` gives for `numbers`, with their images, in order.

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
    parts = -(-batch_size // _PART)
    images = _Buffers((batch_size, *stream.shape))

    def load(element: int) -> list[Bad]:
        number, part = divmod(element, parts)
        mine = slice(part * _PART, (part + 1) * _PART)
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
                judge_lost(new, len(stream.label), stream.on_bad_image)
                known |= {one.row for one in lost}
                _mask_out(batch, [one.row for one in lost])
            yield batch


def _mask_out(batch: Batch, rows: list[int]) -> None:
    """Leaves rows out of a batch: another image stands in their place, so that BatchNorm sees none
    that is not of the data.
    """
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
    """Writes a part of a batch into images uint8[n, H, W, C], and tells where that was not possible
    and why.
    """
    bad = []
    index, epoch = batch["index"], batch["epoch"]
    contents, _ = stream.source.read(index.astype(np.int64))
    for place, (i, content) in enumerate(zip(index.tolist(), contents, strict=True)):
        try:
            if stream.crop_scale is None or seed is None:
                image = load_example(content, stream.how)
            else:
                draws = crop_draws(seed, step, i, int(epoch[place]))
                size = stream.shape[0]
                image = load_crop(content, stream.how, size, stream.crop_scale, draws)
            if image.shape != stream.shape:
                raise ValueError(f"has changed: it is {image.shape}, and was {stream.shape}")
            images[place] = image
        except ValueError as error:
            images[place] = 0
            bad.append(Bad(i, stream.source.name(i), str(error)))
    return bad
