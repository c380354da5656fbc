"""Where metrics go: `metrics.jsonl` at once (in a bucket, with each checkpoint), TensorBoard
(through CLU) as soon as it is there.
"""

import json
from pathlib import Path
from typing import Any

from jaxcnn.errors import DiskError
from jaxcnn.files.paths import Lines, write
from jaxcnn.files.rundir import METRICS, metric_line
from jaxcnn.runtime.disk_errors import how_to_go_on
from jaxcnn.runtime.distributed import is_first
from jaxcnn.runtime.tensorboard import TensorBoard


class MetricWriter:
    """Writes the scalars of a run; of several processes, only the first does."""

    def __init__(self, workdir: Path, resume_step: int, tensorboard: TensorBoard | None = None):
        """resume_step: lines of later steps, of a run that was killed, are cut off.
        tensorboard: what the scalars are passed on to; it is not closed here.
        """
        self._workdir = workdir
        self._path = workdir / METRICS
        self._tensorboard = tensorboard
        self._file: Lines | None = None
        try:
            kept, cut = _until(self._path, resume_step)
            if is_first():
                if cut:
                    write(self._path, "".join(kept))
                self._file = Lines(self._path, kept)
        except OSError as error:
            raise self._refused(error) from error
        self._lines: list[dict[str, Any]] = [json.loads(line) for line in kept]

    def write(self, step: int, epoch: float, split: str, metrics: dict[str, float]) -> None:
        """Appends one line {"step", "epoch", "split", **metrics} and passes the scalars on."""
        line = {"step": step, "epoch": round(epoch, 4), "split": split, **metrics}
        self._lines.append(line)
        if self._file is None:
            return
        try:
            self._file.add(json.dumps(line) + "\n")
        except OSError as error:
            raise self._refused(error) from error
        if self._tensorboard is not None:
            scalars = {f"{split}/{name}": value for name, value in metrics.items()}
            self._tensorboard.scalars(self._workdir, step, scalars)

    def keep(self) -> None:
        """Sees to it that what was written until now is in the run directory; DiskError if not."""
        try:
            if self._file is not None:
                self._file.keep()
        except OSError as error:
            raise self._refused(error) from error

    def keep_tensorboard(self) -> None:
        """The same for TensorBoard's files, whose loss is only logged."""
        if self._tensorboard is not None:
            self._tensorboard.keep(self._workdir)

    def history(self, split: str, name: str) -> list[tuple[int, float]]:
        """(step, value) of a metric in all lines of a split, those of earlier starts too."""
        return [(line["step"], line[name]) for line in self._lines if line["split"] == split]

    def close(self) -> None:
        """Raises DiskError if the disk refuses what was written last."""
        try:
            if self._file is not None:
                self._file.close()
        except OSError as error:
            raise self._refused(error) from error

    def _refused(self, error: OSError) -> DiskError:
        return DiskError(
            f"{self._path}: cannot be written ({error.strerror}); checkpoints are intact: "
            f"{how_to_go_on(self._workdir)}"
        )


def _until(path: Path, step: int) -> tuple[list[str], bool]:
    """The whole lines of a file up to a step, and whether it has others."""
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    kept = [
        line
        for number, line in enumerate(lines, 1)
        if line.endswith("\n") and metric_line(path, number, line)["step"] <= step
    ]
    return kept, len(kept) < len(lines)
