"""Answers for images, videos and cameras: read by threads, answered many at a time."""

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import Empty, Full, Queue
from typing import Any, NamedTuple, TypeVar

import numpy as np

from jaxcnn.data.damage import Damaged, format_of
from jaxcnn.data.folder import read_file
from jaxcnn.errors import UserError
from jaxcnn.inference.classifier import MOST_AT_ONCE, Classifier
from jaxcnn.inference.inputs import Input, find_inputs, is_camera
from jaxcnn.inference.video import even_rate, frames, open_video

# How long an image waits for others to come with it: fewer sizes of batches to compile for, and
# still soon where somebody writes one path after another.
_PATIENCE = 0.5
# Whole frames that wait to be drawn on, in each of two places; one of 4K takes 25 MB.
_FRAMES_AT_ONCE = 8
# What tells an image by its content.
_HEAD = 4096
_NO_NUMBERS = "the model gives no numbers for it"


class Example(NamedTuple):
    """One image or frame and its answer.

    frame, seconds: of a video: the number from 0 and the time since its beginning.
    image: uint8[H, W, C] as the model takes it, until it is answered; None for no answer.
    probabilities: float32[K]; None where `error` says why there are none.
    pixels: a frame as it is, uint8[h, w, 3] RGB, where it is kept; rate: of a film that shows
      each frame at its time, frames a second; 0 where not known.
    warning: why it looks unlike the images of training, if it does.
    asked: False for frames between those that are answered; they have the previous answer.
    """

    path: str
    frame: int | None = None
    seconds: float | None = None
    image: np.ndarray | None = None
    probabilities: np.ndarray | None = None
    error: str | None = None
    pixels: np.ndarray | None = None
    rate: float = 0.0
    asked: bool = True
    warning: str | None = None


def predict(
    classifier: Classifier,
    inputs: Iterable[Input],
    *,
    every: int = 1,
    smooth: float = 0.0,
    keep_frames: bool = False,
    live: bool = False,
    check: Callable[[], None] = lambda: None,
) -> Iterator[Example]:
    """Answers all inputs in their order, each as soon as possible.

    every: of a video, every `every`th frame is answered.
    smooth: seconds over which the answers to a video's frames are averaged, see `smoothed`.
    keep_frames: every frame comes with its pixels, also those without an answer of their own.
    live: the input is a camera: each frame at once, none waits.
    check: called between answers, and while none comes; what it raises ends it all.
    """
    most = 1 if live else _FRAMES_AT_ONCE if keep_frames else MOST_AT_ONCE
    examples = _read(classifier, inputs, every, keep_frames)
    patience, ahead = (0.0, 1) if live else (_PATIENCE, most if keep_frames else 2 * most)
    previous: Example | None = None
    for batch in prefetch(examples, most, patience, ahead, check):
        for example in _answer(classifier, batch):
            if example.frame is not None:
                example = _follow(previous, example, smooth)
                previous = example if example.asked else previous
            yield example


def smoothed(
    previous: np.ndarray, now: np.ndarray, elapsed: float, time_constant: float
) -> np.ndarray:
    """Returns the exponential average of probabilities, float32[K], `elapsed` seconds after
    `previous`: an answer of t seconds ago counts exp(-t / time_constant), at any frame rate.
    """
    if time_constant == 0:
        return now
    kept = math.exp(-max(elapsed, 0.0) / time_constant)
    return (kept * previous + (1 - kept) * now).astype(np.float32)


def count(words: Sequence[str], every: int) -> int | None:
    """Returns about how many answers there will be, for a progress bar; None where that would take
    finding and opening many inputs.
    """
    if any(is_camera(word) or not os.path.isfile(word) for word in words):  # noqa: PTH113
        return None
    total = 0
    for one in find_inputs(words):
        declared = every
        if one.kind == "video":
            if len(words) > 1:
                return None
            with contextlib.suppress(ValueError), open_video(one.path) as video:
                declared = video.num_frames or every
        total += -(-declared // every)
    return total


def _follow(previous: Example | None, example: Example, smooth: float) -> Example:
    """Returns a frame with its answer smoothed, or with that of the `previous` one."""
    if example.error is not None or example.frame == 0:
        return example
    if previous is None or previous.probabilities is None:
        return example
    if example.probabilities is None:
        return example._replace(probabilities=previous.probabilities)
    elapsed = (example.seconds or 0.0) - (previous.seconds or 0.0)
    mean = smoothed(previous.probabilities, example.probabilities, elapsed, smooth)
    return example._replace(probabilities=mean)


def _answer(classifier: Classifier, batch: list[Example]) -> Iterator[Example]:
    """Puts probabilities in the place of images."""
    images = [example.image for example in batch if example.image is not None]
    answers = iter(classifier.probabilities(np.stack(images)) if images else ())
    for example in batch:
        if example.image is not None:
            probabilities = next(answers)
            finite = bool(np.isfinite(probabilities).all())
            said = {"probabilities": probabilities} if finite else {"error": _NO_NUMBERS}
            example = example._replace(image=None, **said)
        yield example


def _read(
    classifier: Classifier, inputs: Iterable[Input], every: int, keep_frames: bool
) -> Generator[Future[Example] | Example, None, None]:
    """Images are read by a pool of threads; a video, of which FFmpeg decodes many frames at once
    anyway, by the thread that runs this.
    """
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        for one in inputs:
            if one.kind == "image" or (one.kind == "file" and _is_image(one.path)):
                yield pool.submit(_read_image, classifier, one.path)
            elif one.kind == "bad":
                yield Example(one.path, error=one.reason)
            else:
                yield from _read_video(classifier, one, every, keep_frames)
    except GeneratorExit:  # nobody wants the rest
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    finally:
        pool.shutdown(wait=False)


def _is_image(path: str) -> bool:
    try:
        with Path(path).open("rb") as file:
            format_of(file.read(_HEAD))
    except Damaged:
        return False
    except OSError:
        return True  # and reading it will tell what is wrong
    return True


def _read_image(classifier: Classifier, path: str) -> Example:
    try:
        image = classifier.read(read_file(path))
        return Example(path, image=image, warning=classifier.warning(image))
    except OSError as error:
        return Example(path, error=f"cannot be read ({error.strerror or error})")
    except (ValueError, UserError) as error:  # a UserError: what this kind of file takes is missing
        return Example(path, error=str(error))


def _read_video(
    classifier: Classifier, one: Input, every: int, keep_frames: bool
) -> Iterator[Example]:
    try:
        with open_video(int(one.path) if one.kind == "camera" else one.path) as video:
            rate = video.rate
            if keep_frames and one.kind != "camera":
                rate = even_rate(one.path, rate)
            for frame in frames(video, every, keep_frames):
                image = classifier.read(frame.pixels) if frame.asked else None
                yield Example(
                    one.path,
                    frame.number,
                    frame.seconds,
                    image=image,
                    pixels=frame.pixels if keep_frames else None,
                    rate=rate,
                    asked=frame.asked,
                    warning=None if image is None else classifier.warning(image),
                )
    except ValueError as error:
        reason = str(error)
        if one.kind == "file":
            reason = f"is neither an image nor a video that can be read ({reason})"
        yield Example(one.path, error=reason)


_T = TypeVar("_T")

# How often a thread that cannot go on looks whether it is still wanted, in seconds.
_LOOK = 0.1
# How long the end waits for a thread that itself waits for a file or a camera.
_GRACE = 1.0


def prefetch(
    items: Generator[Future[_T] | _T, None, None],
    most: int,
    patience: float,
    ahead: int,
    check: Callable[[], None] = lambda: None,
) -> Iterator[list[_T]]:
    """Gives lists of 1 to `most` items, in order; of a future, its result.

    A list is given when it is full or its first item has waited for `patience` seconds, so that
    many items come together and few do not wait. A thread makes up to `ahead` items meanwhile; an
    error in it is raised here. check: called again and again while nothing comes; may raise.
    """
    queue: Queue[Any] = Queue(ahead)
    stopped = threading.Event()
    thread = threading.Thread(target=_produce, args=(items, queue, stopped), daemon=True)
    thread.start()
    try:
        while True:
            items_of_list, end = _gather(queue, most, patience, check)
            if items_of_list:
                yield items_of_list
            if isinstance(end, BaseException):
                raise end
            if end:
                return
    finally:
        stopped.set()
        thread.join(_GRACE)
        while not queue.empty():
            if isinstance(item := queue.get(), Future):
                item.cancel()


def _gather(
    queue: Queue[Any], most: int, patience: float, check: Callable[[], None]
) -> tuple[list[Any], BaseException | bool]:
    """Returns a list, and whether it is the last, or the error that made it so."""
    found: list[Any] = []
    until = 0.0
    while len(found) < most:
        check()
        try:
            item = queue.get(timeout=max(until - time.monotonic(), 0) if found else _LOOK)
        except Empty:
            if found:
                break
            continue
        if item is None or isinstance(item, BaseException):
            return found, item or True
        found.append(item.result() if isinstance(item, Future) else item)
        until = until or time.monotonic() + patience
    return found, False


def _produce(
    items: Generator[Any, None, None], queue: Queue[Any], stopped: threading.Event
) -> None:
    """Puts items into the queue, in a thread; then None, or the error that ended them."""

    def put(item: Any) -> bool:
        while not stopped.is_set():
            try:
                queue.put(item, timeout=_LOOK)
                return True
            except Full:
                continue
        return False

    end = None
    try:
        for item in items:
            if not put(item):
                break
    except BaseException as error:
        end = error
    finally:
        items.close()
    put(end)
