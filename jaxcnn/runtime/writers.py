"""Where metrics go: `metrics.jsonl` at once, TensorBoard (through CLU) as soon as it is there."""

import json
import logging
import queue
import threading
from pathlib import Path
from typing import Any

from jaxcnn.runtime.stderr import without_lines

logger = logging.getLogger(__name__)

_END = None

# What TensorFlow's C++ says on import, whatever TF_CPP_MIN_LOG_LEVEL is.
_NOISE = (
    b"before absl::InitializeLog()",
    b"cudart_stub.cc",
    b"cuda_platform.cc",
    b"port.cc",
    b"cpu_feature_guard.cc",
)


class MetricWriter:
    """Writes scalars of a run.

    CLU imports TensorFlow, which takes seconds: `start` does that in a background thread, and
    scalars wait in a queue until then. Without TensorFlow: one warning and no event files.
    """

    def __init__(self, workdir: Path, resume_step: int):
        """resume_step: lines of later steps, of a run that was killed, are cut off."""
        self._workdir = workdir
        self._path = workdir / "metrics.jsonl"
        _cut_back(self._path, resume_step)
        self._file = self._path.open("a")
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Starts the TensorBoard thread, once."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_events, name="tensorboard")
            self._thread.start()

    def write(self, step: int, epoch: float, split: str, metrics: dict[str, float]) -> None:
        """Appends one line {"step", "epoch", "split", **metrics} and queues the same scalars."""
        line = {"step": step, "epoch": round(epoch, 4), "split": split, **metrics}
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()
        self._queue.put((step, {f"{split}/{name}": value for name, value in metrics.items()}))

    def close(self) -> None:
        """Writes what is left and ends the thread."""
        self._file.close()
        if self._thread is not None:
            self._queue.put(_END)
            self._thread.join()
            self._thread = None

    def _write_events(self) -> None:
        try:
            with without_lines(_NOISE):
                import tensorflow as tf
                from clu.metric_writers import SummaryWriter

                tf.config.set_visible_devices([], "GPU")  # or it would take JAX's memory
                writer = SummaryWriter(str(self._workdir))
        except ImportError as error:
            logger.warning("no TensorBoard files: %s (metrics.jsonl has the same numbers)", error)
            return
        while (item := self._queue.get()) is not _END:
            step, scalars = item
            writer.write_scalars(step, scalars)
        writer.flush()
        writer.close()


def _cut_back(path: Path, step: int) -> None:
    if not path.exists():
        return
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if line.endswith("\n") and json.loads(line)["step"] <= step]
    if len(kept) < len(lines):
        temporary = path.with_suffix(".tmp")
        temporary.write_text("".join(kept))
        temporary.replace(path)
