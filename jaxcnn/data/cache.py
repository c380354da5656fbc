"""Images decoded once: uint8 arrays in memory, kept in a cache on disk."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np

from jaxcnn.data.decode import fit, resize_rule, to_channels
from jaxcnn.data.source import Images, Source
from jaxcnn.errors import UserError

logger = logging.getLogger(__name__)

# How many images are decoded between two resizes: bounds the memory of mixed sizes.
_BLOCK = 1024


def load_images(
    source: Source, image_size: int | None, channels: int | None, cache_dir: str | None
) -> Images:
    """All images of a source, decoded and of one size; from the cache if they are there.

    image_size: pixels of the square to fit images into, or None to keep the size they share.
    channels: 1, 3, or None to keep what they share.
    cache_dir: None: ~/.cache/jaxcnn/data.
    The cache of one source is a folder of two arrays, made whole under another name and renamed:
    it is complete or absent, and the images are memory-mapped from it.
    """
    if not source.cached:
        return decode_images(source, image_size, channels)
    root = Path(cache_dir or "~/.cache/jaxcnn/data").expanduser()
    what = {"source": source.identity, "image_size": image_size, "channels": channels}
    key = hashlib.sha256(json.dumps(what | resize_rule()).encode()).hexdigest()[:24]
    folder = root / key
    if folder.is_dir():
        try:
            return _read(folder)
        except (OSError, ValueError, EOFError) as error:
            logger.warning("%s is damaged (%s): decoding again", folder, error)
            shutil.rmtree(folder)
    images = decode_images(source, image_size, channels)
    try:
        _write(images, root, folder, what)
    except OSError as error:
        logger.warning("not cached in %s: %s", root, error)
        return images
    return _read(folder)


def decode_images(source: Source, image_size: int | None, channels: int | None) -> Images:
    """All images of a source, decoded, fitted and stacked."""
    image: np.ndarray | None = None
    label = np.zeros(source.size, np.int32)
    for start in range(0, source.size, _BLOCK):
        index = np.arange(start, min(start + _BLOCK, source.size))
        block, label[index] = source.read(index)
        if channels is not None:
            block = [to_channels(one, channels) for one in block]
        if image_size is not None:
            block = [fit(one, image_size) for one in block]
        if image is None:
            image = _allocate(source, block[0].shape)
        for i, one in zip(index, block, strict=True):
            if one.shape != image.shape[1:]:
                differ = "image_size" if one.shape[:2] != image.shape[1:3] else "channels"
                raise UserError(
                    f"images differ ({_size(image[0])} and {_size(one)} pixels): "
                    f"give --config.data.{differ}=N"
                )
            image[i] = one
    if image is None:
        raise UserError(f"no images in {source.identity}")
    wrong = np.flatnonzero((label < 0) | (label >= len(source.class_names)))
    if len(wrong):
        raise UserError(
            f"{source.identity}: {len(wrong):,} of {source.size:,} images have no label of the "
            f"{len(source.class_names)} classes (the first: number {wrong[0]}, label "
            f"{label[wrong[0]]}); choose another split, --config.data.test_split for example"
        )
    return Images(image, label)


def _allocate(source: Source, shape: tuple[int, ...]) -> np.ndarray:
    needed = source.size * int(np.prod(shape))
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > 0.8 * available:
        raise UserError(
            f"{source.identity}: {source.size:,} images of {shape} take {needed / 2**30:.0f} GiB "
            f"decoded, this machine has {available / 2**30:.0f}: give a smaller "
            "--config.data.image_size or a slice such as --config.data.train_split='train[:10%]'"
        )
    return np.empty((source.size, *shape), np.uint8)


def _read(folder: Path) -> Images:
    label = np.load(folder / "label.npy")
    return Images(np.load(folder / "image.npy", mmap_mode="r"), label)


def _write(images: Images, root: Path, folder: Path, what: dict) -> None:
    root.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix="unfinished-", dir=root))
    try:
        np.save(temporary / "image.npy", images.image)
        np.save(temporary / "label.npy", images.label)
        (temporary / "what.json").write_text(json.dumps(what, indent=2))
        temporary.chmod(0o755)
        temporary.rename(folder)
    except BaseException as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if not (isinstance(error, OSError) and folder.is_dir()):
            raise  # else another process was first, with the same content


def _size(image: np.ndarray) -> str:
    return "x".join(str(n) for n in image.shape)
