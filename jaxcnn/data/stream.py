"""Images read and decoded when they are needed, ahead of the training, by Grain's threads.

libjpeg-turbo, OpenCV and Pillow let go of Python's lock while they work, so threads keep all cores
busy without copying images between processes.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import lru_cache

import numpy as np

from jaxcnn.data.load import judge, load_crop, load_example
from jaxcnn.data.resize import crop_draws
from jaxcnn.data.source import Bad, Stream

logger = logging.getLogger(__name__)

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
    parts = -(-len(rows(numbers.start)["index"]) // _PART)

    def load(element: int) -> tuple[np.ndarray, list[Bad]]:
        number, part = divmod(element, parts)
        index = rows(number)["index"][part * _PART : (part + 1) * _PART]
        return _load(stream, index, seed, number)

    elements = grain.MapDataset.range(numbers.start * parts, numbers.stop * parts)
    options = grain.ReadOptions(num_threads=stream.workers, prefetch_buffer_size=_AHEAD * parts)
    known: set[int] = set()
    with closing(iter(elements.map(load).to_iter_dataset(options))) as loaded:
        for number in numbers:
            images, bad = zip(*(next(loaded) for _ in range(parts)), strict=True)
            batch = rows(number) | {"image": np.concatenate(images)}
            if lost := [one for part in bad for one in part]:
                new = tuple(one for one in lost if one.row not in known)
                judge(new, len(stream.label), stream.on_bad_image)
                known |= {one.row for one in lost}
                batch["mask"] = batch["mask"] & ~np.isin(batch["index"], [b.row for b in lost])
            yield batch


def _load(
    stream: Stream, index: np.ndarray, seed: int | None, step: int
) -> tuple[np.ndarray, list[Bad]]:
    """Images uint8[n, H, W, C] of rows `index`, black where there is none, and why."""
    images = np.zeros((len(index), *stream.shape), np.uint8)
    bad = []
    contents, _ = stream.source.read(index.astype(np.int64))
    for place, (i, content) in enumerate(zip(index.tolist(), contents, strict=True)):
        try:
            if stream.crop_scale is None or seed is None:
                image = load_example(content, stream.how)
            else:
                draws = crop_draws(seed, step, i)
                size = stream.shape[0]
                image = load_crop(content, stream.how, size, stream.crop_scale, draws)
            if image.shape != stream.shape:
                raise ValueError(f"has changed: it is {image.shape}, and was {stream.shape}")
            images[place] = image
        except ValueError as error:
            bad.append(Bad(i, stream.source.name(i), str(error)))
    return images, bad
