"""What a disk refuses while a checkpoint is written, in one line."""

import logging
import sys
from pathlib import Path
from typing import Any

from jaxcnn.errors import DiskError
from jaxcnn.files.paths import in_bucket
from jaxcnn.runtime.distributed import is_about_others


class DiskErrors:
    """Turns what the disk refuses into one line for the user.

    folder: where the checkpoints are.
    """

    def __init__(self, folder: Path):
        self._folder = folder

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, traceback) -> None:
        # TensorStore reports a full disk as a ValueError. A process that waits for one that
        # has died gets such errors too, and they are not the disk's.
        if isinstance(error, OSError | ValueError) and not is_about_others(error):
            reason = " ".join(str(error).split())[:300]
            raise DiskError(
                f"{self._folder}: the checkpoint could not be written ({reason}); earlier ones are "
                f"intact: {how_to_go_on(self._folder)}"
            ) from error


def how_to_go_on(folder: Path) -> str:
    """What to do where files could not be written."""
    return f"{'' if in_bucket(folder) else 'free some space and '}start again to resume"


def tell_once() -> None:
    """Leaves out what asyncio and TensorStore's threads print of each further array of a checkpoint
    that cannot be written: pages, before the one line above.
    """
    logging.getLogger("asyncio").addFilter(_is_news)
    previous = sys.unraisablehook

    def hear(unraisable: Any) -> None:
        """Passes on all errors but those of an event loop that ended with the first array."""
        if str(unraisable.exc_value) != "Event loop is closed":
            previous(unraisable)

    if getattr(previous, "__module__", None) != __name__:
        sys.unraisablehook = hear


def _is_news(record: logging.LogRecord) -> bool:
    return record.exc_info is None or "OCDBT" not in str(record.exc_info[1])
