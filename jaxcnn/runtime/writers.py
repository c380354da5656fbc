"""Where metrics go: `metrics.jsonl` at once (in a bucket, with each checkpoint), TensorBoard
(through CLU) as soon as it is there; and what is said where a disk refuses them, or a checkpoint.
"""

import base64
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.errors import DiskError
from jaxcnn.files.folders import LocalFolder
from jaxcnn.files.paths import Lines, in_bucket, write
from jaxcnn.files.rundir import METRICS, metric_line
from jaxcnn.runtime.distributed import is_about_others, is_first

logger = logging.getLogger(__name__)


class TensorBoard:
    """TensorBoard's files, of one run directory or of several, which `events.py` writes as a
    process of its own; without TensorFlow there is one warning instead.

    What comes before `start` waits; what comes after a failure is dropped, as `metrics.jsonl` has
    the numbers.
    """

    def __init__(self) -> None:
        self._waiting: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._folders: dict[Path, LocalFolder] = {}

    def start(self) -> None:
        """Starts the process, once. Its import of TensorFlow takes seconds."""
        if self._process is None:
            script = str(Path(__file__).with_name("events.py"))
            self._process = subprocess.Popen(
                [sys.executable, "-P", script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,  # Ctrl-C is for the run; this one ends with its input
            )
            waiting, self._waiting = self._waiting, []
            for line in waiting:
                self._write(line)

    def scalars(self, workdir: Path, step: int, values: dict[str, float]) -> None:
        """Writes numbers by name, "train/loss"."""
        self._send(workdir, step=step, scalars=values)

    def images(self, workdir: Path, step: int, images: dict[str, bytes]) -> None:
        """Writes PNG files by name."""
        encoded = {name: base64.b64encode(png).decode() for name, png in images.items()}
        self._send(workdir, step=step, images=encoded)

    def histograms(self, workdir: Path, step: int, values: dict[str, np.ndarray]) -> None:
        """Writes how the values of arrays are spread, by name; of large ones some 10,000 values."""
        lists = {k: v.ravel()[:: -(-v.size // 10_000)].tolist() for k, v in values.items()}
        self._send(workdir, step=step, histograms=lists)

    def hparams(self, workdir: Path, values: dict[str, Any]) -> None:
        """Writes a flattened config; what is no number or text, as text."""
        kept = {
            key: value if isinstance(value, bool | int | float | str) else str(value)
            for key, value in values.items()
            if value is not None
        }
        self._send(workdir, hparams=kept)

    def keep(self, workdir: Path) -> None:
        """Copies what has been written until now to a directory in a bucket."""
        if workdir in self._folders:
            try:
                self._folders[workdir].keep()
            except OSError as error:
                self._warn(error)

    def close(self) -> None:
        """Waits until the files are written."""
        if self._process is not None:
            reason, _ = self._process.communicate()
            if code := self._process.returncode:
                self._warn(reason.strip() or f"the writer ended with {code}")
            self._process = None
        for workdir, folder in self._folders.items():
            self.keep(workdir)
            folder.drop()
        self._folders = {}

    def _warn(self, reason: object) -> None:
        logger.warning("no TensorBoard files: %s (metrics.jsonl has the same numbers)", reason)

    def _send(self, workdir: Path, **content: Any) -> None:
        if workdir not in self._folders:
            self._folders[workdir] = LocalFolder(workdir)
        line = json.dumps({"workdir": str(self._folders[workdir].path), **content}) + "\n"
        if self._process is None:
            self._waiting.append(line)
        else:
            self._write(line)

    def _write(self, line: str) -> None:
        assert self._process is not None and self._process.stdin is not None
        with suppress(OSError):  # it has ended; `close` says why
            self._process.stdin.write(line)
            self._process.stdin.flush()


class MetricWriter:
    """The scalars of a run as files; of several processes, only the first writes."""

    def __init__(self, workdir: Path, resume_step: int, tensorboard: TensorBoard | None = None):
        """resume_step: lines of later steps, of a run that was killed, are cut off.
        tensorboard: what the scalars are passed on to; it is not closed here.
        """
        self._workdir = workdir
        self._path = workdir / METRICS
        self._tensorboard = tensorboard
        self._file: Lines | None = None
        with self._disk_errors():
            path = self._path
            lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
            kept = [
                line
                for number, line in enumerate(lines, 1)
                if line.endswith("\n") and metric_line(path, number, line)["step"] <= resume_step
            ]
            if is_first():
                if len(kept) < len(lines):
                    write(path, "".join(kept))
                self._file = Lines(path, kept)
        self._lines: list[dict[str, Any]] = [json.loads(line) for line in kept]

    def write(self, step: int, epoch: float, split: str, metrics: dict[str, float]) -> None:
        """Appends one line {"step", "epoch", "split", **metrics} and passes the scalars on."""
        line = {"step": step, "epoch": round(epoch, 4), "split": split, **metrics}
        self._lines.append(line)
        if self._file is None:
            return
        with self._disk_errors():
            self._file.add(json.dumps(line) + "\n")
        if self._tensorboard is not None:
            scalars = {f"{split}/{name}": value for name, value in metrics.items()}
            self._tensorboard.scalars(self._workdir, step, scalars)

    def keep(self) -> None:
        """Copies what was written until now to the run directory; DiskError if it cannot."""
        if self._file is not None:
            with self._disk_errors():
                self._file.keep()

    def keep_tensorboard(self) -> None:
        """The same for TensorBoard's files, whose loss is only logged."""
        if self._tensorboard is not None:
            self._tensorboard.keep(self._workdir)

    def history(self, split: str, name: str) -> list[tuple[int, float]]:
        """(step, value) of a metric in all lines of a split, those of earlier starts too."""
        return [(line["step"], line[name]) for line in self._lines if line["split"] == split]

    def close(self) -> None:
        """Closes the file; DiskError if the disk refuses what was written last."""
        if self._file is not None:
            with self._disk_errors():
                self._file.close()

    @contextmanager
    def _disk_errors(self) -> Iterator[None]:
        """Turns what the disk refuses into one line for the user."""
        try:
            yield
        except OSError as error:
            raise DiskError(
                f"{self._path}: cannot be written ({error.strerror}); checkpoints are intact: "
                f"{how_to_go_on(self._workdir)}"
            ) from error


@contextmanager
def disk_errors(checkpoints: Path) -> Iterator[None]:
    """Turns what the disk refuses into one line for the user. checkpoints: their folder."""
    try:
        yield
    # TensorStore reports a full disk as a ValueError. A process that waits for one that has died
    # gets such errors too, and they are not the disk's.
    except (OSError, ValueError) as error:
        if is_about_others(error):
            raise
        reason = " ".join(str(error).split())[:300]
        raise DiskError(
            f"{checkpoints}: the checkpoint could not be written ({reason}); earlier ones are "
            f"intact: {how_to_go_on(checkpoints)}"
        ) from error


def how_to_go_on(folder: Path) -> str:
    """What to do where files could not be written."""
    return f"{'' if in_bucket(folder) else 'free some space and '}start again to resume"


def tell_once() -> None:
    """Leaves out what asyncio and TensorStore's threads print of each further array of a checkpoint
    that cannot be written: pages, before the one line above.
    """
    previous = sys.unraisablehook
    if getattr(previous, "__module__", None) == __name__:
        return

    def is_news(record: logging.LogRecord) -> bool:
        return record.exc_info is None or "OCDBT" not in str(record.exc_info[1])

    def hear(unraisable: Any) -> None:
        """Passes on all errors but those of an event loop that ended with the first array."""
        if str(unraisable.exc_value) != "Event loop is closed":
            previous(unraisable)

    logging.getLogger("asyncio").addFilter(is_news)
    sys.unraisablehook = hear
