"""What answers are wanted of: files, folders, patterns and lists of them, found one by one."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from jaxcnn.data.folder import SUFFIXES

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp",
    ".ogv", ".mts", ".m2ts",
)  # fmt: skip
STANDARD_INPUT = "-"


class Input(NamedTuple):
    """One thing to answer.

    kind: "file" is one whose name does not tell whether it is an image or a video; "bad": none of
      these, because of `reason`, which continues the path ("no such file" after a colon).
    """

    path: str
    kind: Literal["image", "video", "camera", "file", "bad"]
    reason: str = ""


def find_inputs(words: Iterable[str], listed: Iterable[str] = ()) -> Iterator[Input]:
    """All inputs that the words name, in their order; what a word names is found when its turn
    comes, so that memory holds the names of one folder at a time, or the matches of one pattern.

    words: paths of files and folders (with all that is in them), patterns such as
      "photos/**/*.jpg", the number of a camera where no file has that name, or "-" for `listed`.
    listed: paths of files and folders, taken as they are.
    """
    for word in words:
        if word == STANDARD_INPUT:
            for path in listed:
                yield from _find_path(path)
            continue
        word = os.path.expanduser(word)  # noqa: PTH111 - the shell does not where it sees quotes
        if is_camera(word):
            yield Input(word, "camera")
        elif os.path.lexists(word) or not glob.has_magic(word):
            yield from _find_path(word)
        else:
            found = sorted(glob.iglob(word, recursive=True))  # noqa: PTH207 - keeps it as given
            for path in found:
                yield from _find_path(path)
            if not found:
                yield Input(word, "bad", "matches no file")


def is_camera(word: str) -> bool:
    """Whether a word is the number of a camera: no file has that name."""
    return word.isascii() and word.isdecimal() and not os.path.lexists(word)


def read_lines(descriptor: int) -> Iterator[str]:
    """Paths, one a line, as soon as each line is there.

    Python's own standard input holds a lock while it waits, which a process that ends meanwhile
    dies of.
    """
    rest = b""
    while block := os.read(descriptor, 2**16):
        *lines, rest = (rest + block).split(b"\n")
        for line in lines:
            if path := line.removesuffix(b"\r"):
                yield os.fsdecode(path)
    if path := rest.removesuffix(b"\r"):
        yield os.fsdecode(path)


def _find_path(path: str) -> Iterator[Input]:
    if Path(path).is_dir():
        empty = True
        for found in _below(path, frozenset()):
            empty = False
            yield found
        if empty:
            yield Input(path, "bad", "has no images or videos of a kind jaxcnn reads")
    elif Path(path).is_file():
        yield Input(path, _kind(path) or "file")
    else:
        # A pipe would be waited for without end.
        yield Input(path, "bad", "no regular file" if Path(path).exists() else "no such file")


def _below(folder: str, above: frozenset[tuple[int, int]]) -> Iterator[Input]:
    """Images and videos by name, in the order of their paths; hidden files are left out, links are
    followed, but not in a circle.
    """
    try:
        fact = os.stat(folder)  # noqa: PTH116
        with os.scandir(folder) as found:
            # A folder's slash counts in the order of paths: "a.jpg" comes before "a/".
            names = sorted(entry.name + "/" * entry.is_dir() for entry in found)
    except OSError as error:
        yield Input(folder, "bad", f"cannot be listed ({error.strerror})")
        return
    here = above | {(fact.st_dev, fact.st_ino)}
    if here == above:
        return
    for name in names:
        path = os.path.join(folder, name)  # noqa: PTH118
        if name.startswith("."):
            continue
        if name.endswith("/"):
            if not name.startswith("__"):
                yield from _below(path.removesuffix("/"), here)
        elif (kind := _kind(name)) is not None:
            yield Input(path, kind)


def _kind(name: str) -> Literal["image", "video"] | None:
    name = name.lower()
    if name.endswith(SUFFIXES):
        return "image"
    return "video" if name.endswith(VIDEO_SUFFIXES) else None
