"""A video file, written frame by frame."""

import contextlib
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from jaxcnn.data.damage import Damaged
from jaxcnn.data.png import silent_opencv
from jaxcnn.errors import UserError, is_end
from jaxcnn.inference.video import count_frames

# What the FFmpeg in OpenCV's wheels can write everywhere; it has no H.264 encoder.
CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".mkv": "mp4v", ".webm": "VP80", ".avi": "MJPG"}
# Frames a second where a camera does not tell.
_RATE = 25.0


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

    def __enter__(self) -> "Film":
        return self

    def write(self, pixels: np.ndarray, rate: float) -> None:
        """Adds a frame; rate: frames a second, 0 where not known; UserError where the file cannot
        be written.
        """
        cv2 = silent_opencv()
        height, width = (side - side % 2 for side in pixels.shape[:2])
        if self._writer is None:
            codec = cv2.VideoWriter.fourcc(*CODECS[self._path.suffix.lower()])
            self._writer = cv2.VideoWriter(
                str(self._unfinished), cv2.CAP_FFMPEG, codec, rate or _RATE, (width, height)
            )
            if not self._writer.isOpened():
                raise UserError(f"{self._path}: a video of {width}x{height} cannot be written")
        self._writer.write(cv2.cvtColor(pixels[:height, :width], cv2.COLOR_RGB2BGR))
        self._written += 1

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """What there is is kept, also when somebody stops it: that is how a camera's film ends.
        UserError where the disk has not taken all of it, which OpenCV does not tell.
        """
        if self._writer is None:
            return
        self._writer.release()
        try:
            if is_end(kind):
                if not self._is_whole():
                    raise UserError(f"{self._path}: cannot be written whole (is the disk full?)")
                self._unfinished.replace(self._path)
        finally:
            with contextlib.suppress(OSError):  # a name too long to be written is none to unlink
                self._unfinished.unlink()

    def _is_whole(self) -> bool:
        try:
            return count_frames(str(self._unfinished)) == self._written
        except Damaged:
            return False
