"""Images decoded once: uint8 arrays, kept in a cache on disk and memory-mapped from there.

An entry is a folder: image.npy, label.npy, bad.json and what.json, which says of what. It is made
under another name and renamed when whole, so that it is complete or absent, also when two processes
make it at once. Its name is a hash of the source (files' names, sizes and times), of how images are
decoded and of jaxcnn's rules for that, so that a changed file is another entry.
"""

import errno
import hashlib
import json
import logging
import math
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.data.decode import Decoding, to_channels
from jaxcnn.data.load import check_labels, first_shape, for_all, load_example
from jaxcnn.data.resize import resize_rule
from jaxcnn.data.source import Bad, Images, Source
from jaxcnn.errors import UserError

logger = logging.getLogger(__name__)


def load_images(
    source: Source,
    decoding: Decoding,
    cache_dir: str | None,
    *,
    limit: float = 50e9,
    workers: int = 1,
) -> Images:
    """Returns all images of a source, decoded and of one size; from the cache if they are there.

    cache_dir: None: ~/.cache/jaxcnn/data.
    limit: bytes; before an entry is added, those used longest ago are removed to stay below it.
    """
    if (ready := _ready_images(source, decoding)) is not None:
        return ready
    if not source.cached:
        return decode_images(source, decoding, workers=workers)
    root, folder, what = locate_entry(source, decoding, "images", cache_dir)
    if (images := _read(folder)) is not None:
        return images
    try:
        with NewEntry(root, limit, decoded_size(source, decoding)) as temporary:
            images = decode_images(source, decoding, workers=workers, folder=temporary)
            if any(bad.temporary for bad in images.bad):  # another time it may be readable
                return images._replace(image=np.array(images.image))
            commit_entry(temporary, folder, images.label, images.bad, what)
    except OSError as error:
        logger.warning("not cached in %s: %s", root, error)
        return decode_images(source, decoding, workers=workers)
    return _read(folder) or images


def _ready_images(source: Source, decoding: Decoding) -> Images | None:
    """Returns the images of a source whose arrays are what `decoding` would make; else None."""
    array = source.array
    if array is None or source.labels is None:
        return None
    _, height, width, channels = array.shape
    fitted = decoding.image_size is None or (height, width) == (decoding.image_size,) * 2
    if not fitted or decoding.crop_fraction != 1 or decoding.channels not in (None, channels):
        return None
    label = source.labels()
    check_labels(source, label)
    return Images(array, label)


def cached_bytes(source: Source, decoding: Decoding, cache_dir: str | None) -> int | None:
    """Returns the bytes of the decoded images of a source in the cache; None without them."""
    image = locate_entry(source, decoding, "images", cache_dir)[1] / "image.npy"
    return image.stat().st_size if source.cached and image.is_file() else None


def survey(
    source: Source, decoding: Decoding, cache_dir: str | None, *, workers: int = 1
) -> tuple[Decoding, tuple[int, int, int], np.ndarray, tuple[Bad, ...]]:
    """What streaming must know before it starts: `decoding` with its channels decided, the images'
    shape (H, W, C), all labels int32[N], and which images cannot be decoded.

    Every image is decoded once for that (a JPEG at the lowest scale that fits); the result is kept
    in the cache.
    """
    if not source.cached and source.labels is not None:
        shape = first_shape(source, decoding)
        return decoding._replace(channels=shape[2]), shape, source.labels(), ()
    root, folder, what = locate_entry(source, decoding, "survey", cache_dir)
    if (entry := _read_survey(folder)) is None:
        entry = _colour_if_mixed(decoding, lambda decoding: _look_at_all(source, decoding, workers))
        label, bad, shape = entry
        try:
            with NewEntry(root) as temporary:
                if not any(one.temporary for one in bad):
                    commit_entry(temporary, folder, label, bad, what | {"shape": shape})
        except OSError as error:
            logger.warning("not cached in %s: %s", root, error)
    label, bad, shape = entry
    return decoding._replace(channels=shape[2]), shape, label, bad


def decode_images(
    source: Source, decoding: Decoding, *, workers: int = 1, folder: Path | None = None
) -> Images:
    """All images of a source, decoded, fitted and stacked; in memory or in `folder`/image.npy."""

    def run(decoding: Decoding) -> Images:
        image = _allocate(source, first_shape(source, decoding), folder)
        label, bad, _ = _look_at_all(source, decoding, workers, image.__setitem__)
        if isinstance(image, np.memmap):
            image.flush()
        return Images(image, label, bad)

    return _colour_if_mixed(decoding, run)


class _Mixed(Exception):
    """Grey images came first, and now one in colour."""


def _colour_if_mixed(decoding: Decoding, run: Callable[[Decoding], Any]) -> Any:
    """What `run(decoding)` returns; in colour where grey and colour are mixed and both allowed."""
    try:
        return run(decoding)
    except _Mixed:
        return run(decoding._replace(channels=3))


def _look_at_all(
    source: Source,
    decoding: Decoding,
    workers: int,
    keep: Callable[[int, np.ndarray], None] = lambda i, one: None,
) -> tuple[np.ndarray, tuple[Bad, ...], tuple[int, int, int]]:
    """Decodes every image and hands it to `keep`; (labels, what cannot be decoded, the shape)."""
    shape = first_shape(source, decoding)
    label = np.zeros(source.size, np.int32)
    bad: list[Bad] = []
    work = partial(load_example, decoding=decoding)
    for index, images, labels in for_all(source, work, workers, "decoded"):
        label[index] = labels
        for i, one in zip(index.tolist(), images, strict=True):
            if isinstance(one, Bad):
                bad.append(one)
                continue
            if decoding.channels is None and one.shape[2] != shape[2]:
                if shape[2] == 1:
                    raise _Mixed
                one = to_channels(one, shape[2])
            if one.shape != shape:
                raise UserError(
                    f"images differ ({_size(shape)} and {_size(one.shape)} pixels): give "
                    "--config.data.image_size=N"
                )
            keep(i, one)
    check_labels(source, label)
    return label, tuple(bad), shape


def decoded_size(source: Source, decoding: Decoding) -> int:
    """Returns the bytes of all images of a source, decoded."""
    if decoding.image_size is not None and decoding.channels is not None:
        return source.size * decoding.image_size**2 * decoding.channels
    return source.size * int(np.prod(first_shape(source, decoding)))


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
    """Returns the bytes of memory that this process may use: the machine's or its container's."""
    size = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    try:
        return min(size, int(limit.read_text("utf-8")))
    except (OSError, ValueError):  # no such file, or "max"
        return size


def _read(folder: Path) -> Images | None:
    def read() -> Images:
        return Images(np.load(folder / "image.npy", mmap_mode="r"), *_facts(folder))

    return read_entry(folder, read)


def _read_survey(
    folder: Path,
) -> tuple[np.ndarray, tuple[Bad, ...], tuple[int, int, int]] | None:
    def read():
        height, width, channels = json.loads((folder / "what.json").read_text("utf-8"))["shape"]
        return *_facts(folder), (height, width, channels)

    return read_entry(folder, read)


def _facts(folder: Path) -> tuple[np.ndarray, tuple[Bad, ...]]:
    bad = json.loads((folder / "bad.json").read_text("utf-8"))
    return np.load(folder / "label.npy"), tuple(Bad(*one) for one in bad)


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in shape)


_UNFINISHED = "unfinished-"
# After so many seconds without a change nobody can still be writing another machine's entry.
_ABANDONED = 24 * 3600


def locate_entry(
    source: Source, decoding: Decoding, kind: str, cache_dir: str | None
) -> tuple[Path, Path, dict[str, Any]]:
    """(the cache's folder, the entry's folder, what its what.json says).

    cache_dir: None: ~/.cache/jaxcnn/data.
    """
    root = Path(cache_dir or "~/.cache/jaxcnn/data").expanduser()
    what = {"kind": kind, "source": source.identity} | resize_rule(decoding)
    text = json.dumps(what | {"stamp": source.stamp})
    return root, root / hashlib.sha256(text.encode()).hexdigest()[:24], what


def evict(root: Path, limit: float) -> None:
    """Removes what killed processes left, and old entries until the rest has `limit` bytes."""
    entries = []
    for path in root.iterdir():
        try:
            if path.name.startswith(_UNFINISHED):
                if _is_abandoned(path):
                    shutil.rmtree(path, ignore_errors=True)
            elif (path / "what.json").is_file():
                size = sum(file.stat().st_size for file in path.iterdir())
                entries.append((path.stat().st_mtime, size, path))
        except OSError:  # another process removes it at the same time
            continue
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= limit:
            return
        logger.info("data cache: removing %s (%.1f GB)", path, size / 1e9)
        shutil.rmtree(path, ignore_errors=True)
        total -= size


def _is_abandoned(unfinished: Path) -> bool:
    """Whether the process that began an entry is gone; of another machine: after a day."""
    host, _, process = unfinished.name.removeprefix(_UNFINISHED).rpartition("-")[0].rpartition("-")
    if host == platform.node() and process.isdecimal():
        return not Path(f"/proc/{process}").exists() and Path("/proc/self").exists()
    return time.time() - unfinished.stat().st_mtime > _ABANDONED


class NewEntry(tempfile.TemporaryDirectory):
    """A folder for an entry in the making; at its end it is removed, if it was not renamed.

    Entries that were used longest ago are removed first, so that with `size` bytes more the cache
    stays below `limit` bytes.
    """

    def __init__(self, root: Path, limit: float = math.inf, size: int = 0) -> None:
        root.mkdir(parents=True, exist_ok=True)
        evict(root, limit - size)
        prefix = f"{_UNFINISHED}{platform.node()}-{os.getpid()}-"
        super().__init__(prefix=prefix, dir=root, ignore_cleanup_errors=True)

    def __enter__(self) -> Path:
        return Path(super().__enter__())


def commit_entry(
    temporary: Path, folder: Path, label: np.ndarray, bad: tuple[Bad, ...], what: dict[str, Any]
) -> None:
    np.save(temporary / "label.npy", label)
    (temporary / "bad.json").write_text(json.dumps(bad))
    (temporary / "what.json").write_text(json.dumps(what, indent=2))
    temporary.chmod(0o755)
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was first, with the same content
            raise


def read_entry(folder: Path, read: Callable[[], Any]) -> Any:
    """Returns what `read` reads of an entry; None where there is none or it is damaged."""
    if not folder.is_dir():
        return None
    try:
        entry = read()
        os.utime(folder)  # `evict` removes what was used longest ago
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        logger.warning("%s is damaged (%s): decoding again", folder, error)
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return entry


MODES = ("memory", "device", "stream")


def decoded_bytes(sources: Iterable[Source], decoding: Decoding, cache_dir: str | None) -> int:
    """Returns the bytes of all images when they are decoded."""
    total = 0
    for source in sources:
        if (known := cached_bytes(source, decoding, cache_dir)) is not None:
            total += known
        else:
            total += decoded_size(source, decoding)
    return total


def choose_mode(needed: int, device_memory: int | None) -> str:
    """Returns the fastest place that holds `needed` bytes of images.

    device_memory: bytes of one accelerator, each of which gets a copy; None: there is none, and the
      CPU's own memory is the device's. A model needs room too: images may take a quarter of a
      device's memory, and half of the machine's.
    """
    if device_memory is not None and needed <= device_memory / 4:
        return "device"
    return "memory" if needed <= memory_size() / 2 else "stream"
