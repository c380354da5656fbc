"""What answers are wanted of: files, folders, patterns and lists of them, found one by one."""

import glob
import itertools
import os
import stat
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Literal, NamedTuple

from jaxcnn.data.kinds import SUFFIXES
from jaxcnn.data.listing import WRITTEN, LeftOut, add, is_clutter, is_written, sort_entries

VIDEO_SUFFIXES = (
    ".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".wmv", ".flv", ".3gp",
    ".ogv", ".mts", ".m2ts",
)  # fmt: skip
STANDARD_INPUT = "-"
# OpenCV takes the hundreds of a camera's number for the library that reads it.
_MOST_DIGITS = 4


class Input(NamedTuple):
    """Something to answer.

    kind: "file" is one whose name does not tell whether it is an image or a video; "bad": none of
      these, because of `reason`, which continues the path ("no such file" after a colon).
    """

    path: str
    kind: Literal["image", "video", "camera", "file", "bad"]
    reason: str = ""


def find_inputs(
    words: Iterable[str], listed: Iterable[str] = (), left_out: LeftOut | None = None
) -> Iterator[Input]:
    """Gives all inputs that the words name, in their order; what a word names is found when its
    turn comes: memory holds the names of one folder at a time, or the matches of one pattern.

    words: paths of files and folders (with all that is in them), patterns such as
      "photos/**/*.jpg", the number of a camera where no file has that name, or "-" for `listed`.
    listed: paths of files and folders, taken as they are.
    left_out: what lies in folders and is neither an image nor a video is added to it.
    """
    find = partial(_find_path, left_out={} if left_out is None else left_out)
    for word in words:
        if word == STANDARD_INPUT:
            for path in listed:
                yield from find(path)
            continue
        word = os.path.expanduser(word)  # noqa: PTH111 - the shell does not where it sees quotes
        if is_camera(word):
            yield Input(word, "camera")
        elif os.path.lexists(word) or not glob.has_magic(word):
            yield from find(word)
        else:
            found = sorted(glob.iglob(word, recursive=True))  # noqa: PTH207 - keeps it as given
            everything = itertools.chain.from_iterable(map(find, found))
            yield from _once(everything) if "**" in word else everything
            if not found:
                yield Input(word, "bad", "matches no file")


def is_camera(word: str) -> bool:
    """Whether a word is the number of a camera: no file has that name, and it is not too long."""
    few = len(word) <= _MOST_DIGITS
    return few and word.isascii() and word.isdecimal() and not os.path.lexists(word)


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


def _once(inputs: Iterable[Input]) -> Iterator[Input]:
    """Gives each path once: "**" matches folders too, and what is in them."""
    seen = set()
    for one in inputs:
        if (path := os.path.normpath(one.path)) not in seen:
            seen.add(path)
            yield one


def _find_path(path: str, left_out: LeftOut) -> Iterator[Input]:
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116
    except (FileNotFoundError, NotADirectoryError):
        yield Input(path, "bad", "no such file")
    except (OSError, ValueError) as error:  # a name that is too long, or has a zero in it
        yield Input(path, "bad", f"cannot be read ({getattr(error, 'strerror', error)})")
    else:
        yield from _find_mode(path, mode, left_out)


def _find_mode(path: str, mode: int, left_out: LeftOut) -> Iterator[Input]:
    if stat.S_ISDIR(mode):
        empty = True
        for found in _below(path, frozenset(), left_out):
            empty = False
            yield found
        if empty:
            yield Input(path, "bad", "has no images or videos of a kind jaxcnn reads")
    elif stat.S_ISREG(mode):
        is_image = path.lower().endswith(SUFFIXES)
        yield Input(path, "image" if is_image else "video" if _is_video(path) else "file")
    else:
        # A pipe would be waited for without end.
        yield Input(path, "bad", "no regular file")


def _below(folder: str, above: frozenset[tuple[int, int]], left_out: LeftOut) -> Iterator[Input]:
    """Images and videos by name, in the order of their paths, and what else is there; links are
    followed, but not in a circle.
    """
    try:
        fact = os.stat(folder)  # noqa: PTH116
        with os.scandir(folder) as found:
            entries = sorted((entry.name, entry.is_dir()) for entry in found)
    except OSError as error:
        yield Input(folder, "bad", f"cannot be listed ({error.strerror})")
        return
    here = above | {(fact.st_dev, fact.st_ino)}
    if here == above:
        return
    prefix = os.path.join(folder, "")  # noqa: PTH118
    folders = [name for name, is_folder in entries if is_folder]
    files = [name for name, is_folder in entries if not is_folder]
    if is_written(folders, files):
        add(left_out, {(WRITTEN, ""): [prefix]})
        return
    videos = {name for name in files if _is_video(name) and not is_clutter(name)}
    files = [name for name in files if name not in videos]
    inside, images, others = sort_entries(folder, folders, files)
    add(left_out, others, prefix)
    # A folder's slash counts in the order of paths: "a.jpg" comes before "a/".
    for name in sorted([*(f"{name}/" for name in inside), *images, *videos]):
        if name.endswith("/"):
            yield from _below(prefix + name[:-1], here, left_out)
        else:
            yield Input(prefix + name, "video" if name in videos else "image")


def _is_video(path: str) -> bool:
    return path.lower().endswith(VIDEO_SUFFIXES)
