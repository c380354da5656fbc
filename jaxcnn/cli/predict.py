"""Says what is in images, in videos, and before a camera.

    jaxcnn predict --workdir runs/folder photo.jpg photos/ 'more/**/*.png'
    jaxcnn predict --workdir runs/folder photos/ --csv=answers.csv --top=3 > answers.jsonl
    jaxcnn predict --workdir runs/folder film.mp4 --every=5 --save=annotated.mp4
    jaxcnn predict --artifact model.onnx 0
    find . -name '*.jpg' | jaxcnn predict --workdir runs/folder -

An INPUT is an image, a folder (with all images and videos below it), a pattern in quotes, a video,
the number of a camera (until Ctrl-C; alone), or - for a list of paths on standard input. Each
answer is a line of JSON on standard output, in the order of the inputs: path, label, probability,
top; of a video's frames also frame, from 0, and seconds. What cannot be read is a line with path
and error, and the rest go on; the exit code is 2 if none can be read, or with --strict any.
"""

import contextlib
import itertools
import math
import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from absl import flags

from jaxcnn.cli.parsing import classifier_from_flags, define_classifier
from jaxcnn.data.listing import LeftOut, notes
from jaxcnn.errors import UserError, printable
from jaxcnn.files.folders import check_writable
from jaxcnn.files.paths import local
from jaxcnn.runtime.progress import counter

if TYPE_CHECKING:
    from jaxcnn.inference.inputs import Input
    from jaxcnn.inference.video import Film

ARGUMENTS = "INPUT ..."

# A file's number, as Python's own object for it may be missing, and waits for more than one line.
_STDIN = 0

define_classifier()
_TOP = flags.DEFINE_integer("top", 5, "How many of the likeliest classes.", lower_bound=1)
_CSV = flags.DEFINE_string("csv", None, "A file for a table of all answers and probabilities.")
_EVERY = flags.DEFINE_integer("every", 1, "Of a video, answer every Nth frame.", lower_bound=1)
_SMOOTH = flags.DEFINE_float(
    "smooth",
    0.5,
    "Seconds over which the answers to a video's frames are averaged; 0: each by itself.",
    lower_bound=0,
)
_SAVE = flags.DEFINE_string(
    "save", None, "A video file (.mp4, .webm, .avi, ...) for INPUT with its answers drawn on it."
)
_STRICT = flags.DEFINE_bool("strict", False, "Exit with 2 if any input could not be read.")


def check(*words: str) -> None:
    if not words:
        raise UserError(
            "give what to look at: images, folders, videos, or - for a list of paths on standard "
            "input; jaxcnn predict --workdir RUN INPUT ..."
        )
    if not math.isfinite(_SMOOTH.value):
        raise UserError(f"--smooth={_SMOOTH.value}: give a number of seconds")


def main(*words: str) -> None:
    from jaxcnn.inference.inputs import find_inputs, is_camera, read_lines

    if (camera := next(filter(is_camera, words), None)) and len(words) > 1:
        raise UserError(f"{camera}: no such file, and a camera of that number is given alone")
    if _CSV.value is not None and _is_one_of(_local(_CSV), words):
        raise UserError(f"--csv={_CSV.value}: is an INPUT itself; give another name")
    left_out: LeftOut = {}
    inputs = find_inputs(words, read_lines(_STDIN), left_out)
    film = None
    if _SAVE.value is not None:
        film = _film(_local(_SAVE), found := list(itertools.islice(inputs, 2)))
        inputs = iter(found)
    try:
        answered, failed = _answer(inputs, words, film)
    except KeyboardInterrupt as stop:
        print("stopped", file=sys.stderr)
        sys.exit(143 if isinstance(stop, _Terminated) else 130)
    except BrokenPipeError:
        return  # whoever reads has enough
    for note in notes(left_out):
        text = f"left out: {note.what}" + ("" if note.harmless else f"; {note.advice}")
        print(text if note.harmless else f"warning: {text}", file=sys.stderr)
    if failed:
        message = f'{failed:,} of {answered:,} could not be read; the lines with "error" say why'
        if _STRICT.value or failed == answered:
            raise UserError(message)
        print(f"warning: {message}", file=sys.stderr)


class _Terminated(KeyboardInterrupt):
    """SIGTERM, which ends everything as Ctrl-C does."""


def _catch_signals() -> Callable[[], None]:
    """Notes Ctrl-C and SIGTERM, and returns what raises them. A second one ends the process.

    Raised at once they could be lost: Python drops what a callback of its garbage collector raises.
    """
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        noted.append(number)
        signal.signal(number, signal.SIG_DFL)

    def check() -> None:
        if noted:
            raise _Terminated if noted[0] == signal.SIGTERM else KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, note)
    return check


def _answer(
    inputs: "Iterator[Input]", words: tuple[str, ...], film: "Film | None"
) -> tuple[int, int]:
    """Writes one answer after another; returns how many, and how many of them are errors."""
    from jaxcnn.inference.answers import Table, annotated, as_json
    from jaxcnn.inference.inputs import is_camera
    from jaxcnn.inference.prediction import count, predict
    from jaxcnn.report.letters import legend, spelled

    classifier, every = classifier_from_flags(), _EVERY.value
    examples = predict(
        classifier,
        inputs,
        every=every,
        smooth=_SMOOTH.value,
        keep_frames=film is not None,
        live=is_camera(words[0]),
        check=_catch_signals(),
    )
    total = count(words, every) if sys.stderr.isatty() else None
    answered = failed = 0
    warned: list[str] = []
    with ExitStack() as stack:
        table = (
            stack.enter_context(Table(_CSV.value, classifier.class_names)) if _CSV.value else None
        )
        bar = stack.enter_context(counter(total, "image"))
        if film is not None:
            stack.enter_context(film)
        for example in examples:
            if film is not None and example.pixels is not None:
                film.write(annotated(classifier, example), example.rate, example.seconds or 0.0)
            if not example.asked:
                continue
            if table is not None:
                table.write(example)
            if bar is not None and sys.stdout.isatty():
                bar.clear()  # it comes again below the line
            _print(as_json(classifier, example, _TOP.value))
            if bar is not None:
                bar.update()
            answered += 1
            failed += example.error is not None
            warned += [f"{example.path} is {example.warning}"] if example.warning else []
    if warned:
        what = f"{len(warned):,} of {answered:,} look unlike the images of training"
        print(f"warning: {what}, such as {printable(warned[0])}", file=sys.stderr)
    if film is not None and (shown := legend([spelled(name) for name in classifier.class_names])):
        print(f"warning: in the film {shown}", file=sys.stderr)
    return answered, failed


def _print(line: str) -> None:
    """A BrokenPipeError where nobody reads any more; UserError where it cannot be written."""
    try:
        print(line, flush=True)
    except OSError as error:
        # Python would complain at its end about what it still holds.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            raise
        raise UserError(f"standard output: cannot be written ({error.strerror})") from error


def _is_one_of(path: Path, words: Iterable[str]) -> bool:
    """Whether a file that is to be written is the same as one of these."""
    for word in words:
        with contextlib.suppress(OSError):
            if path.samefile(Path(word).expanduser()):
                return True
    return False


def _local(flag: flags.FlagHolder[str | None]) -> Path:
    return local(flag.value or "", f"--{flag.name}", "it is written bit by bit")


def _film(path: Path, inputs: "list[Input]") -> "Film":
    """Where --save goes; UserError where it cannot, or there is not one video to draw on."""
    from jaxcnn.inference.video import CODECS, Film

    if path.suffix.lower() not in CODECS:
        raise UserError(f"--save={path}: give a name that ends in {', '.join(CODECS)}")
    if len(inputs) != 1 or inputs[0].kind not in ("video", "camera", "file"):
        raise UserError("--save: takes one video, or a camera, as its only INPUT")
    if os.path.isdir(path):  # noqa: PTH112 - a name may be too long for pathlib's
        raise UserError(f"--save={path}: is a folder; give the name of a file in it")
    if inputs[0].kind != "camera" and _is_one_of(path, [inputs[0].path]):
        raise UserError(f"--save={path}: is the INPUT itself; give another name")
    check_writable(path.parent, "save")
    return Film(path)
