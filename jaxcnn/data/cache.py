"""Images decoded once: uint8 arrays, kept in a cache on disk and memory-mapped from there.

An entry is a folder: image.npy, label.npy, bad.json and what.json, which says of what. It is made
under another name and renamed when whole, so that it is complete or absent, also when two processes
make it at once. Its name is a hash of the source (files' names, sizes and times), of how images are
decoded and of jaxcnn's rules for that, so that a changed file is another entry.
"""

import errno
import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.data.decode import Decoding, to_channels
from jaxcnn.data.entries import NewEntry, finish, intact, locate
from jaxcnn.data.load import check_labels, first_shape, load_all
from jaxcnn.data.source import Bad, Images, Source
from jaxcnn.errors import UserError

logger = logging.getLogger(__name__)


def load_images(
    source: Source, how: Decoding, cache_dir: str | None, *, limit: float = 50e9, workers: int = 1
) -> Images:
    """All images of a source, decoded and of one size; from the cache if they are there.

    cache_dir: None: ~/.cache/jaxcnn/data.
    limit: bytes; before an entry is added, those used longest ago are removed to stay below it.
    """
    if (ready := _as_they_are(source, how)) is not None:
        return ready
    if not source.cached:
        return decode_images(source, how, workers=workers)
    root, folder, what = locate(source, how, "images", cache_dir)
    if (images := _read(folder)) is not None:
        return images
    try:
        with NewEntry(root, limit, decoded_size(source, how)) as temporary:
            images = decode_images(source, how, workers=workers, folder=temporary)
            if any(bad.passing for bad in images.bad):  # another time it may be readable
                return images._replace(image=np.array(images.image))
            finish(temporary, folder, images.label, images.bad, what)
    except OSError as error:
        logger.warning("not cached in %s: %s", root, error)
        return decode_images(source, how, workers=workers)
    return _read(folder) or images


def _as_they_are(source: Source, how: Decoding) -> Images | None:
    """The images of a source that are pixels as `how` wants them already."""
    array = source.array
    if array is None or source.labels is None:
        return None
    _, height, width, channels = array.shape
    fitted = how.image_size is None or (height, width) == (how.image_size,) * 2
    if not fitted or how.crop_fraction != 1 or how.channels not in (None, channels):
        return None
    label = source.labels()
    check_labels(source, label)
    return Images(array, label)


def cached_bytes(source: Source, how: Decoding, cache_dir: str | None) -> int | None:
    """What the decoded images of a source take on disk; None if they are not in the cache."""
    image = locate(source, how, "images", cache_dir)[1] / "image.npy"
    return image.stat().st_size if source.cached and image.is_file() else None


def survey(
    source: Source, how: Decoding, cache_dir: str | None, *, workers: int = 1
) -> tuple[Decoding, tuple[int, int, int], np.ndarray, tuple[Bad, ...]]:
    """What streaming must know before it starts: `how` with its channels decided, the images'
    shape (H, W, C), all labels int32[N], and which images cannot be decoded.

    Every image is decoded once for that (a JPEG at the lowest scale that fits); the result is kept
    in the cache.
    """
    if not source.cached and source.labels is not None:
        shape = first_shape(source, how)
        return how._replace(channels=shape[2]), shape, source.labels(), ()
    root, folder, what = locate(source, how, "survey", cache_dir)
    if (found := _read_survey(folder)) is None:
        found = _colour_if_mixed(how, lambda how: _look_at_all(source, how, workers))
        label, bad, shape = found
        try:
            with NewEntry(root) as temporary:
                if not any(one.passing for one in bad):
                    finish(temporary, folder, label, bad, what | {"shape": shape})
        except OSError as error:
            logger.warning("not cached in %s: %s", root, error)
    label, bad, shape = found
    return how._replace(channels=shape[2]), shape, label, bad


def decode_images(
    source: Source, how: Decoding, *, workers: int = 1, folder: Path | None = None
) -> Images:
    """All images of a source, decoded, fitted and stacked; in memory or in `folder`/image.npy."""

    def run(how: Decoding) -> Images:
        image = _allocate(source, first_shape(source, how), folder)
        label, bad, _ = _look_at_all(source, how, workers, image.__setitem__)
        if isinstance(image, np.memmap):
            image.flush()
        return Images(image, label, bad)

    return _colour_if_mixed(how, run)


class _Mixed(Exception):
    """Grey images came first, and now one in colour."""


def _colour_if_mixed(how: Decoding, run: Callable[[Decoding], Any]) -> Any:
    """What `run(how)` gives; where `how` leaves the channels open and they differ, in colour."""
    try:
        return run(how)
    except _Mixed:
        return run(how._replace(channels=3))


def _look_at_all(
    source: Source,
    how: Decoding,
    workers: int,
    keep: Callable[[int, np.ndarray], None] = lambda i, one: None,
) -> tuple[np.ndarray, tuple[Bad, ...], tuple[int, int, int]]:
    """Decodes every image and hands it to `keep`; (labels, what cannot be decoded, the shape)."""
    shape = first_shape(source, how)
    label = np.zeros(source.size, np.int32)
    bad: list[Bad] = []
    clock = time.perf_counter()
    for index, images, labels in load_all(source, how, workers):
        label[index] = labels
        for i, one in zip(index.tolist(), images, strict=True):
            if isinstance(one, Bad):
                bad.append(one)
                continue
            if how.channels is None and one.shape[2] != shape[2]:
                if shape[2] == 1:
                    raise _Mixed
                one = to_channels(one, shape[2])
            if one.shape != shape:
                raise UserError(
                    f"images differ ({_size(shape)} and {_size(one.shape)} pixels): give "
                    "--config.data.image_size=N"
                )
            keep(i, one)
        if time.perf_counter() - clock > 10:
            clock = time.perf_counter()
            logger.info("decoded %s of %s images", f"{index[-1] + 1:,}", f"{source.size:,}")
    check_labels(source, label)
    return label, tuple(bad), shape


def decoded_size(source: Source, how: Decoding) -> int:
    """Bytes of all images of a source."""
    if how.image_size is not None and how.channels is not None:
        return source.size * how.image_size**2 * how.channels
    return source.size * int(np.prod(first_shape(source, how)))


def _allocate(source: Source, shape: tuple[int, ...], folder: Path | None) -> np.ndarray:
    needed = source.size * int(np.prod(shape))
    if needed > 0.8 * memory_size():
        raise UserError(
            f"{source.identity}: {source.size:,} images of {shape} take {needed / 2**30:.0f} GiB "
            f"decoded, this machine has {memory_size() / 2**30:.0f}: give --config.data.mode=stream"
        )
    if folder is None:
        return np.zeros((source.size, *shape), np.uint8)
    if shutil.disk_usage(folder).free < needed:  # writing to a map of a full disk kills a process
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    path = folder / "image.npy"
    image = np.lib.format.open_memmap(path, "w+", np.uint8, (source.size, *shape))
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return image


def memory_size() -> int:
    """Bytes of memory this process may use: the machine's, or its container's limit."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    try:
        return min(size, int(limit.read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return size


def _read(folder: Path) -> Images | None:
    def read() -> Images:
        return Images(np.load(folder / "image.npy", mmap_mode="r"), *_facts(folder))

    return intact(folder, read)


def _read_survey(
    folder: Path,
) -> tuple[np.ndarray, tuple[Bad, ...], tuple[int, int, int]] | None:
    def read():
        height, width, channels = json.loads((folder / "what.json").read_text())["shape"]
        return *_facts(folder), (height, width, channels)

    return intact(folder, read)


def _facts(folder: Path) -> tuple[np.ndarray, tuple[Bad, ...]]:
    bad = json.loads((folder / "bad.json").read_text())
    return np.load(folder / "label.npy"), tuple(Bad(*one) for one in bad)


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in shape)
