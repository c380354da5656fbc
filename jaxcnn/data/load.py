"""Reading and decoding the examples of a source, many at a time."""

import logging
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

import numpy as np

from jaxcnn.data.decode import Decoding, open_image, read_image, to_pixels
from jaxcnn.data.jpeg import own_copy
from jaxcnn.data.resize import crop_box, fit, fit_crop, shorter_side
from jaxcnn.data.shrink import shrink
from jaxcnn.data.source import Bad, Content, Source
from jaxcnn.errors import UserError, command, first_few

logger = logging.getLogger(__name__)

# How many examples one worker reads at once: few enough to share work, many enough to be fast.
_BLOCK = 64

_Loaded = TypeVar("_Loaded")


def load_example(content: Content, decoding: Decoding) -> np.ndarray:
    """Decodes and fits one example: uint8[H, W, C]. ValueError with the reason where it cannot."""
    image = shrink(open_image(require_content(content)), decoding)
    pixels = to_pixels(read_image(image, shorter_side(decoding), reuse=True), decoding)
    return own_copy(fit(pixels, decoding, image.size))


def load_crop(
    content: Content,
    decoding: Decoding,
    target: int,
    scale: tuple[float, float],
    draws: np.ndarray,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Decodes a random part of one example, see `crop_box`, resized to uint8[target, target, C].

    A JPEG is decoded no larger than the crop needs. out: see `fit_crop`.
    """
    image = shrink(open_image(require_content(content)), decoding)
    box = crop_box(image.size, scale, draws)
    enough = target / min(box[2:])  # the scale at which the crop is as large as it will be
    raw = read_image(image, math.ceil(min(image.size) * enough), reuse=True)
    return own_copy(fit_crop(to_pixels(raw, decoding), box, image.size, target, out))


def for_all(
    source: Source, work: Callable[[Content], _Loaded], workers: int, verb: str
) -> Iterator[tuple[np.ndarray, list[_Loaded | Bad], np.ndarray]]:
    """Yields (index int64[n], n results or why there is none, label int32[n]), block after block,
    of `work` on all contents of a source, by threads. Few blocks wait: memory is bounded.

    work: raises ValueError with the reason where it cannot.
    verb: what the log says every ten seconds: "decoded 128 of 1,000 images".
    """

    def load(start: int) -> tuple[np.ndarray, list[_Loaded | Bad], np.ndarray]:
        index = np.arange(start, min(start + _BLOCK, source.size))
        contents, label = source.read(index)
        results: list[_Loaded | Bad] = []
        for i, content in zip(index.tolist(), contents, strict=True):
            try:
                results.append(work(content))
            except ValueError as error:
                temporary = isinstance(content, OSError)
                results.append(Bad(i, source.name(i), str(error), temporary))
        return index, results, label

    logged = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        starts = iter(range(0, source.size, _BLOCK))
        waiting = deque(pool.submit(load, start) for start in islice(starts, 2 * workers))
        try:
            while waiting:
                block = waiting.popleft().result()
                waiting.extend(pool.submit(load, start) for start in islice(starts, 1))
                yield block
                if time.perf_counter() - logged > 10:
                    logged = time.perf_counter()
                    done = int(block[0][-1]) + 1
                    logger.info("%s %s of %s images", verb, f"{done:,}", f"{source.size:,}")
        finally:
            pool.shutdown(cancel_futures=True)


def first_shape(source: Source, decoding: Decoding) -> tuple[int, int, int]:
    """Returns (H, W, C) of the first image that can be decoded; UserError if none can."""
    bad = []
    for i in range(source.size):
        contents, _ = source.read(np.array([i]))
        try:
            height, width, channels = load_example(contents[0], decoding).shape
            return height, width, channels
        except ValueError as error:
            bad.append(Bad(i, source.name(i), str(error)))
    if not bad:
        raise UserError(f"no images in {source.identity}")
    raise UserError(f"{_describe_bad(bad, source.size)}; {_list_them()}")


def require_content(content: Content) -> bytes | np.ndarray:
    """Returns the content; ValueError where it could not be read."""
    if isinstance(content, OSError):
        raise ValueError(f"cannot be read ({content.strerror or content})")
    return content


def check_labels(source: Source, label: np.ndarray) -> None:
    """UserError where an example's label is none of the classes."""
    wrong = np.flatnonzero((label < 0) | (label >= len(source.class_names)))
    if len(wrong):
        raise UserError(
            f"{source.identity}: {len(wrong):,} of {source.size:,} images have no label of the "
            f"{len(source.class_names)} classes (the first: {source.name(int(wrong[0]))}, label "
            f"{label[wrong[0]]}); choose another split, --config.data.test_split for example"
        )


def check_bad(bad: tuple[Bad, ...], size: int, on_bad_image: str) -> None:
    """Names the images that cannot be used, by a UserError, or by a warning with "skip"."""
    if not bad:
        return
    if on_bad_image == "skip":
        logger.warning("left out: %s", _describe_bad(bad, size))
        return
    raise UserError(
        f"{_describe_bad(bad, size)}; mend or remove them, or leave them out with "
        f"--config.data.on_bad_image=skip; {_list_them()}"
    )


def check_lost(bad: tuple[Bad, ...], size: int, on_bad_image: str) -> None:
    """Names the images that can no more be used as when the run began, as `check_bad` does."""
    if bad and on_bad_image == "skip":
        logger.warning("left out from now on: %s", _describe_bad(bad, size))
    elif bad:
        raise UserError(
            f"{_describe_bad(bad, size)} any more; put them back and start the same command again, "
            "which goes on from the last checkpoint"
        )


def _describe_bad(bad: tuple[Bad, ...] | list[Bad], size: int) -> str:
    return f"{len(bad):,} of {size:,} images cannot be used: {first_few(bad, 10)}"


def _list_them() -> str:
    return f"all are listed by: {command('check_data', keep='--config')}"
