"""The frames of a video or a camera, one after another, through OpenCV's FFmpeg."""

import contextlib
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.data.damage import Damaged, check_size
from jaxcnn.data.png import silent_opencv
from jaxcnn.errors import UserError, is_end

# Containers hold zeros early on. FFmpeg would read a text as a film of its letters, or as a list of
# addresses to fetch.
_HEAD = 4096
# A file that ends this much before it says so is cut short; many count their frames roughly.
_LEAST_SHARE = 0.9


class Video(NamedTuple):
    """An open video. rate: frames a second; num_frames: as declared; each 0 where not known."""

    capture: Any
    rate: float
    num_frames: int
    live: bool


class Frame(NamedTuple):
    """number: from 0. seconds: since the first frame. pixels: uint8[h, w, 3] RGB, upright.

    asked: whether it is one of every `every`.
    """

    number: int
    seconds: float
    pixels: np.ndarray
    asked: bool = True


@contextmanager
def open_video(place: str | int) -> Iterator[Video]:
    """Opens a video file, or the camera of a number; raises Damaged with a reason that continues
    its name.
    """
    cv2 = silent_opencv()
    live = isinstance(place, int)
    if isinstance(place, int):
        capture = cv2.VideoCapture(place)
    else:
        _check_head(place)
        # FFmpeg takes the beginning of "a:b.mp4" for a protocol, but not that of a whole path.
        capture = cv2.VideoCapture(str(Path(place).absolute()), cv2.CAP_FFMPEG)
    try:
        if not capture.isOpened():
            raise Damaged("cannot be opened" if live else "is no video that can be decoded")
        size = (int(capture.get(k)) for k in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        check_size(*size)
        declared = capture.get(cv2.CAP_PROP_FPS), capture.get(cv2.CAP_PROP_FRAME_COUNT)
        rate, count = (x if math.isfinite(x) and x > 0 else 0 for x in declared)
        yield Video(capture, rate, 0 if live else int(count), live)
    finally:
        capture.release()


def frames(video: Video, every: int = 1, whole: bool = False) -> Iterator[Frame]:
    """Gives every `every`th frame from the first on, with `whole` also those between; then raises
    Damaged where the video has none or is cut short.
    """
    cv2 = silent_opencv()
    began = time.monotonic()
    number = 0
    while video.capture.grab():
        asked = number % every == 0
        if asked or whole:
            read, pixels = video.capture.retrieve()
            if not read:
                break
            seconds = time.monotonic() - began if video.live else _seconds(video, number)
            yield Frame(number, seconds, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), asked)
        number += 1
    if video.live:
        raise Damaged("gives no more frames")
    if number == 0:
        raise Damaged("has no frame that can be decoded")
    if number < min(_LEAST_SHARE * video.num_frames, video.num_frames - video.rate):
        raise Damaged(f"is cut short: has {number} of {video.num_frames} frames")


def count_frames(path: str) -> int:
    """Counts the frames of a file, as they are packed, quickly; Damaged where it is no video."""
    cv2 = silent_opencv()
    with open_video(path) as video:
        video.capture.set(cv2.CAP_PROP_FORMAT, -1)  # nothing is decoded from here on
        number = 0
        while video.capture.grab():
            number += 1
        return number


def even_rate(path: str, rate: float) -> float:
    """Frames a second with which each frame of a file can be shown at its time: `rate`, or where
    they do not last equally long, so many that the shortest has a place of its own.
    """
    cv2 = silent_opencv()
    clock: list[float] = []
    with open_video(path) as video:
        video.capture.set(cv2.CAP_PROP_FORMAT, -1)  # nothing is decoded from here on
        while video.capture.grab():
            clock.append(video.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000)
    times = np.unique(clock)
    if len(times) < 2 or not np.isfinite(times).all():
        return rate
    counted = np.arange(len(times)) / rate if rate else np.inf
    if np.abs(times - times[0] - counted).max() * rate < 0.5:
        return rate
    return float(np.clip(round(1 / np.diff(times).min(), 3), 1, _MOST_RATE))


def _seconds(video: Video, number: int) -> float:
    """Returns a frame's time by the file's own clock, as frames differ in length; else counted."""
    seconds = video.capture.get(silent_opencv().CAP_PROP_POS_MSEC) / 1000
    if math.isfinite(seconds) and (seconds > 0 or number == 0):
        return max(seconds, 0.0)
    return number / video.rate if video.rate else 0.0


def _check_head(path: str) -> None:
    if not Path(path).is_file():  # a pipe would be waited for without end
        raise Damaged("no regular file" if Path(path).exists() else "no such file")
    try:
        with Path(path).open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise Damaged(f"cannot be read ({error.strerror})") from error
    if not head:
        raise Damaged("is empty")
    if b"\0" not in head:
        raise Damaged("is no video")


# What the FFmpeg in OpenCV's wheels can write everywhere; it has no H.264 encoder.
CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".webm": "VP80", ".avi": "MJPG"}
# Frames a second where a camera does not tell, and at most where they do not last equally long.
_RATE, _MOST_RATE = 25.0, 60.0
# Seconds that a frame lasts at most.
_LONGEST = 600.0


class Film:
    """Frames uint8[h, w, 3] RGB -> a file, under its name when the last one is in it.

    The size is that of the first frame, less a row or column where it is odd, which the codecs do
    not take. Sound is not kept.
    """

    def __init__(self, path: Path):
        self._path = path
        self._unfinished = path.with_name(f".unfinished-{path.name}")
        self._writer: Any = None
        self._written = 0
        self._rate = _RATE
        self._left_out = 0.0
        self._last: np.ndarray | None = None

    def __enter__(self) -> "Film":
        return self

    def write(self, pixels: np.ndarray, rate: float, seconds: float) -> None:
        """Adds a frame that is seen from `seconds` on; UserError where the file cannot be written.

        rate: frames a second, 0 where not known. Each is repeated until the next one's time comes;
        of two in the same time one is left out.
        """
        cv2 = silent_opencv()
        height, width = (side - side % 2 for side in pixels.shape[:2])
        if self._writer is None:
            self._rate, codec = rate or _RATE, CODECS[self._path.suffix.lower()]
            self._writer = cv2.VideoWriter(
                str(self._unfinished),
                cv2.CAP_FFMPEG,
                cv2.VideoWriter.fourcc(*codec),
                self._rate,
                (width, height),
            )
            if not self._writer.isOpened():
                raise UserError(f"{self._path}: a video of {width}x{height} cannot be written")
        frame = cv2.cvtColor(pixels[:height, :width], cv2.COLOR_RGB2BGR)
        place = round((seconds - self._left_out) * self._rate)
        if place - self._written > _LONGEST * self._rate:  # a clock that has jumped
            self._left_out = seconds - self._written / self._rate
            place = self._written
        while self._written < place:
            self._add(frame if self._last is None else self._last)
        self._last = frame
        if self._written == place:
            self._add(frame)

    def _add(self, frame: np.ndarray) -> None:
        self._writer.write(frame)
        self._written += 1

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Keeps what there is, also when somebody stops it: that is how a camera's film ends.
        UserError where the disk has not taken all of it, which OpenCV does not tell.
        """
        if self._writer is None:
            return
        self._writer.release()
        try:
            if is_end(kind):
                with contextlib.suppress(Damaged):
                    self._written -= count_frames(str(self._unfinished))
                if self._written != 0:
                    raise UserError(f"{self._path}: cannot be written whole (is the disk full?)")
                self._unfinished.replace(self._path)
        finally:
            with contextlib.suppress(OSError):  # a name too long to be written is none to unlink
                self._unfinished.unlink()
