"""TensorBoard's files, of one run directory or of several, by one process of their own."""

import base64
import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.files.folders import LocalFolder

logger = logging.getLogger(__name__)


class TensorBoard:
    """Passes what it is given on to `events.py`; without TensorFlow there is one warning instead.

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
        """Numbers by name, "train/loss"."""
        self._send(workdir, step=step, scalars=values)

    def images(self, workdir: Path, step: int, images: dict[str, bytes]) -> None:
        """PNG files by name."""
        encoded = {name: base64.b64encode(png).decode() for name, png in images.items()}
        self._send(workdir, step=step, images=encoded)

    def histograms(self, workdir: Path, step: int, values: dict[str, np.ndarray]) -> None:
        """Arrays by name, to show how their values are spread; of large ones some 10,000 values."""
        lists = {k: v.ravel()[:: -(-v.size // 10_000)].tolist() for k, v in values.items()}
        self._send(workdir, step=step, histograms=lists)

    def hparams(self, workdir: Path, values: dict[str, Any]) -> None:
        """What a run was given, a flattened config; what is no number or text, as text."""
        kept = {
            key: value if isinstance(value, bool | int | float | str) else str(value)
            for key, value in values.items()
            if value is not None
        }
        self._send(workdir, hparams=kept)

    def keep(self, workdir: Path) -> None:
        """Sees to it that what has been written until now is in a directory in a bucket."""
        if workdir in self._folders:
            self._copy(self._folders[workdir].keep)

    def close(self) -> None:
        """Waits until the files are written."""
        self._end()
        for folder in self._folders.values():
            self._copy(folder.keep)
            folder.drop()
        self._folders = {}

    def _copy(self, copy: Callable[[], None]) -> None:
        try:
            copy()
        except OSError as error:
            logger.warning("no TensorBoard files: %s (metrics.jsonl has the same numbers)", error)

    def _end(self) -> None:
        if self._process is None:
            return
        reason, _ = self._process.communicate()
        if self._process.returncode:
            logger.warning(
                "no TensorBoard files: %s (metrics.jsonl has the same numbers)",
                reason.strip() or f"the writer ended with {self._process.returncode}",
            )
        self._process = None

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
        try:
            self._process.stdin.write(line)
            self._process.stdin.flush()
        except OSError:  # it has ended; `close` says why
            pass
