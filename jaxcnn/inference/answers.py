"""What is said of an example: as a line of JSON, a row of a table, a caption on a frame."""

import contextlib
import csv
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.errors import UserError, is_end
from jaxcnn.inference.classifier import Classifier, answer
from jaxcnn.inference.prediction import Example
from jaxcnn.report.caption import captioned


def as_json(classifier: Classifier, example: Example, top: int) -> str:
    """Returns {"path", "label", "probability", "top"}, of a video with "frame" and "seconds" after
    the path; with "error" in place of an answer where there is none, and with
    "warning" where it looks unlike all images of training.
    """
    line: dict[str, Any] = {"path": example.path}
    if example.frame is not None:
        line |= {"frame": example.frame, "seconds": round(example.seconds or 0.0, 6)}
    if example.probabilities is None:
        line["error"] = example.error
    else:
        line |= answer(classifier, example.probabilities, top)
        line |= {"warning": example.warning} if example.warning else {}
    return json.dumps(line, allow_nan=False)


class Table:
    """A CSV file of answers: path, frame and seconds (of videos), prediction, probability,
    p_<class> of each class, error. Paths keep their bytes, whether or not they are UTF-8.

    It has its name when the last row is in it; a pipe or device is written to as it is.
    """

    def __init__(self, path: str | Path, class_names: Sequence[str]):
        self._class_names = class_names
        self._name = path
        with self._errors():
            self._path = self._unfinished = Path(path).expanduser()
            if self._path.is_file() or not self._path.exists():
                self._path = self._path.resolve()  # a link stays one
                self._unfinished = self._path.with_name(f".unfinished-{self._path.name}")
            self._file = self._unfinished.open(
                "w", newline="", encoding="utf-8", errors="surrogateescape"
            )
        self._rows = csv.writer(self._file, lineterminator="\n")
        columns = ["path", "frame", "seconds", "prediction", "probability"]
        self._row([*columns, *(f"p_{name}" for name in class_names), "error"])

    def __enter__(self) -> "Table":
        return self

    def write(self, example: Example) -> None:
        """Adds a row; probabilities have 6 significant digits."""
        said = [""] * (2 + len(self._class_names))
        if (shares := example.probabilities) is not None:
            best = int(np.argmax(shares))
            said = [self._class_names[best], *(f"{x:.6g}" for x in (shares[best], *shares))]
        seconds = "" if example.seconds is None else f"{example.seconds:.6g}"
        self._row([example.path, example.frame, seconds, *said, example.error or ""])

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        """Keeps what there is, also when somebody stops it; UserError where the disk is full."""
        try:
            with self._errors():
                self._file.close()
                if is_end(kind) and self._unfinished != self._path:
                    self._unfinished.replace(self._path)
        finally:
            if self._unfinished != self._path:
                self._unfinished.unlink(missing_ok=True)

    def _row(self, values: Sequence[Any]) -> None:
        with self._errors():
            self._rows.writerow(values)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"--csv={self._name}: cannot be written ({reason})") from error


def annotated(classifier: Classifier, example: Example) -> np.ndarray:
    """Returns a frame that has its pixels, uint8[h, w, 3], with the likeliest class and its
    probability drawn on it; as it is where it has no answer.
    """
    assert example.pixels is not None
    if example.probabilities is None:
        return example.pixels
    best = answer(classifier, example.probabilities, top=1)
    return captioned(example.pixels, f"{best['label']}  {best['probability']:.0%}")
