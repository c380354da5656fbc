"""Smaller copies of a source's large photos, in one file of the cache on disk.

An entry is a folder: copies.bin, one JPEG after another; place.npy, int64[N + 1], where each
begins; checksum.npy, uint32[N]. What has no copy, or a damaged one, is read from the source, which
takes longer and gives the same pixels, see `jaxcnn.data.shrink`.
"""

import errno
import json
import logging
import os
import shutil
import time
import zlib
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcnn.data.cache import NewEntry, commit_entry, evict, locate_entry, read_entry
from jaxcnn.data.decode import Decoding, open_image
from jaxcnn.data.load import for_all, require_content
from jaxcnn.data.shrink import small_copy
from jaxcnn.data.source import Content, Source

logger = logging.getLogger(__name__)

# Bytes after which room is made for more, and that must be free on the disk.
_STRIDE = 2**26


class Copies(NamedTuple):
    """An opened entry. label: int32[N]; complete: False where the cache's limit ended it."""

    file: BufferedReader
    place: np.ndarray
    checksum: np.ndarray
    label: np.ndarray
    complete: bool
    limit: float

    def read(self, i: int) -> bytes | None:
        """The copy of example i; None if there is none, or it is damaged."""
        start, end = self.place[i : i + 2].tolist()
        if start == end:
            return None
        content = os.pread(self.file.fileno(), end - start, start)
        return content if zlib.crc32(content) == self.checksum[i] else None


def with_copies(
    source: Source,
    decoding: Decoding,
    cache_dir: str | None,
    *,
    limit: float = 50e9,
    workers: int = 1,
) -> Source:
    """The source, whose large photos are read from smaller copies; where the cache has none, they
    are made first.

    limit: bytes of the whole cache: what was used longest ago is removed for the copies, and where
      they would take more themselves, they end.
    """
    decoding = (
        decoding if decoding.channels == 1 else decoding._replace(channels=None)
    )  # `small_copy` makes the same
    root, folder, what = locate_entry(source, decoding, "copies", cache_dir)
    copies = read_entry(folder, partial(_open, folder))
    if copies is not None and not copies.complete and copies.limit < limit:
        shutil.rmtree(folder, ignore_errors=True)
        copies = None
    if copies is None:
        try:
            with NewEntry(root, limit) as temporary:
                label, complete = _make(source, decoding, temporary, limit, workers)
                more = {"complete": complete, "limit": limit}
                commit_entry(temporary, folder, label, (), what | more)
            copies = read_entry(folder, partial(_open, folder))
        except OSError as error:
            logger.warning(
                "no copies in %s: %s; large photos are shrunk whenever they are read", root, error
            )
    return source if copies is None else source._replace(read=partial(_read, source, copies))


def _read(source: Source, copies: Copies, index: np.ndarray) -> tuple[list[Content], np.ndarray]:
    """`Source.read` that takes from the source what has no copy."""
    copied: list[Content | None] = [copies.read(i) for i in index.tolist()]
    label = copies.label[index]
    missing = np.array([content is None for content in copied], bool)
    if missing.any():
        contents, label[missing] = source.read(index[missing])
        for i, content in zip(np.flatnonzero(missing).tolist(), contents, strict=True):
            copied[i] = content
    return [content for content in copied if content is not None], label


def _make(
    source: Source, decoding: Decoding, folder: Path, limit: float, workers: int
) -> tuple[np.ndarray, bool]:
    """Writes an entry but for its labels, which it gives, and whether it is complete."""
    size, label = np.zeros(source.size, np.int64), np.zeros(source.size, np.int32)
    checksum = np.zeros(source.size, np.uint32)
    done, room, complete = 0, 0, True
    work = partial(_copy, decoding=decoding)
    started = time.perf_counter()
    with (folder / "copies.bin").open("wb") as file:
        for index, copies, labels in for_all(source, work, workers, "shrunk"):
            label[index] = labels
            for i, copy in zip(index.tolist(), copies, strict=True):
                if not isinstance(copy, bytes):  # the survey tells what cannot be decoded
                    continue
                if not (complete := complete and done + len(copy) <= limit):
                    break
                size[i], checksum[i] = file.write(copy), zlib.crc32(copy)
                done += len(copy)
            if not complete:
                break
            if done >= room:
                room = done + _STRIDE
                _make_room(folder.parent, limit, room)
    np.save(folder / "place.npy", np.cumsum(np.append(0, size)))
    np.save(folder / "checksum.npy", checksum)
    _tell(size, complete, limit, time.perf_counter() - started)
    return label, complete


def _tell(size: np.ndarray, complete: bool, limit: float, seconds: float) -> None:
    count, images = np.count_nonzero(size), len(size)
    summary = f"smaller copies of {count:,} of {images:,} images: {size.sum() / 1e9:.3f} GB"
    if not complete:
        logger.warning(
            "%s; more would take more than data.cache_limit_gb=%g: other large photos are shrunk "
            "whenever they are read",
            summary,
            limit / 1e9,
        )
    elif count:
        logger.info("%s (%.1f s)", summary, seconds)
    else:
        logger.warning("data.shrink changes nothing: none of %s images is larger", f"{images:,}")


def _make_room(root: Path, limit: float, size: int) -> None:
    """Removes what was used longest ago for an entry of so many bytes; OSError on a full disk."""
    evict(root, limit - size)
    if shutil.disk_usage(root).free < _STRIDE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _copy(content: Content, decoding: Decoding) -> bytes | None:
    return small_copy(open_image(require_content(content)), decoding)


def _open(folder: Path) -> Copies:
    """Raises ValueError where the entry is damaged."""
    what = json.loads((folder / "what.json").read_text("utf-8"))
    place = np.load(folder / "place.npy")
    copies = (folder / "copies.bin").open("rb")
    if os.fstat(copies.fileno()).st_size != place[-1]:
        raise ValueError("copies.bin is cut short")
    checksum, label = np.load(folder / "checksum.npy"), np.load(folder / "label.npy")
    return Copies(copies, place, checksum, label, what["complete"], what["limit"])
