"""Where metrics go: `metrics.jsonl` at once, TensorBoard (through CLU) as soon as it is there."""

import base64
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.errors import UserError

logger = logging.getLogger(__name__)


class MetricWriter:
    """Writes the scalars of a run.

    TensorBoard's files are written by `events.py` in a process of its own, which `start` starts;
    without TensorFlow there is one warning instead.
    """

    def __init__(self, workdir: Path, resume_step: int):
        """resume_step: lines of later steps, of a run that was killed, are cut off."""
        self._workdir = workdir
        self._path = workdir / "metrics.jsonl"
        self._waiting: list[str] = []  # lines for TensorBoard, before it is started
        self._events: subprocess.Popen[str] | None = None
        try:
            _cut_back(self._path, resume_step)
            self._file = self._path.open("a")
        except OSError as error:
            raise self._refused(error) from error

    def start(self) -> None:
        """Starts the TensorBoard process, once."""
        if self._events is None:
            script = str(Path(__file__).with_name("events.py"))
            self._events = subprocess.Popen(
                [sys.executable, "-P", script, str(self._workdir)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
                start_new_session=True,  # Ctrl-C is for the run; this one ends with its input
            )
            waiting, self._waiting = self._waiting, []
            for line in waiting:
                self._send(line)

    def write(self, step: int, epoch: float, split: str, metrics: dict[str, float]) -> None:
        """Appends one line {"step", "epoch", "split", **metrics} and passes the scalars on."""
        line = {"step": step, "epoch": round(epoch, 4), "split": split, **metrics}
        try:
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        except OSError as error:
            raise self._refused(error) from error
        scalars = {f"{split}/{name}": value for name, value in metrics.items()}
        self._send(json.dumps({"step": step, "scalars": scalars}) + "\n")

    def history(self, split: str, name: str) -> list[tuple[int, float]]:
        """(step, value) of a metric in all lines of a split, those of earlier starts too."""
        lines = map(json.loads, self._path.read_text().splitlines())
        return [(line["step"], line[name]) for line in lines if line["split"] == split]

    def write_images(self, step: int, images: dict[str, bytes]) -> None:
        """Passes PNG files on to TensorBoard, by name."""
        encoded = {name: base64.b64encode(png).decode() for name, png in images.items()}
        self._send(json.dumps({"step": step, "images": encoded}) + "\n")

    def write_histograms(self, step: int, values: dict[str, np.ndarray]) -> None:
        """Passes arrays on to TensorBoard, which shows how their values are spread; of large ones
        some 10,000 values.
        """
        lists = {k: v.ravel()[:: -(-v.size // 10_000)].tolist() for k, v in values.items()}
        self._send(json.dumps({"step": step, "histograms": lists}) + "\n")

    def write_hparams(self, values: dict[str, Any]) -> None:
        """Passes a flattened config on to TensorBoard; what is no number or text, as text."""
        kept = {
            key: value if isinstance(value, bool | int | float | str) else str(value)
            for key, value in values.items()
            if value is not None
        }
        self._send(json.dumps({"hparams": kept}) + "\n")

    def __enter__(self) -> "MetricWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Waits until TensorBoard's files are written."""
        try:
            self._file.close()
        except OSError as error:
            raise self._refused(error) from error
        finally:
            if self._events is not None:
                reason, _ = self._events.communicate()
                if self._events.returncode:
                    logger.warning(
                        "no TensorBoard files: %s (metrics.jsonl has the same numbers)",
                        reason.strip() or f"the writer ended with {self._events.returncode}",
                    )
                self._events = None

    def _send(self, line: str) -> None:
        if self._events is None:
            self._waiting.append(line)
            return
        assert self._events.stdin is not None
        try:
            self._events.stdin.write(line)
            self._events.stdin.flush()
        except OSError:  # it has ended; `close` says why
            pass

    def _refused(self, error: OSError) -> UserError:
        return UserError(
            f"{self._path}: cannot be written ({error.strerror}); checkpoints are intact: free "
            "some space and start again to resume"
        )


def _cut_back(path: Path, step: int) -> None:
    if not path.exists():
        return
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    if len(kept) < len(lines):
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(kept))
        temporary.replace(path)
