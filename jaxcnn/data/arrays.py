"""Images that are arrays already: one .npz file, or a folder of .npy files."""

import hashlib
import logging
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from jaxcnn.data.decode import ODD_ALPHA, partly_clear
from jaxcnn.data.folder import check_classes
from jaxcnn.data.labels import class_of_labels
from jaxcnn.data.source import Content, Source
from jaxcnn.errors import UserError, nearest

logger = logging.getLogger(__name__)

# The suffixes of array names -> roles.
_ROLES = {"": "train", "_train": "train", "_val": "validation", "_validation": "validation",
          "_test": "test"}  # fmt: skip


# What NumPy and zipfile raise on damaged files.
_UNREADABLE = (
    OSError, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError,
    struct.error, zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def load_arrays(*, dir: str) -> dict[str, Source]:
    """Arrays named image (uint8 or uint16 [N, H, W] or [N, H, W, C]) and label (whole numbers from
    0, or names), and if there are such splits image_val, label_val, image_test, label_test.

    dir: an .npz file, or a folder of image.npy, label.npy, ...; those are memory-mapped.
    An array class_names, if there is one, names the classes 0..K-1.
    """
    path = Path(dir).expanduser()
    return from_arrays(_open(path), f"config.data.dir={dir!r}", _stamp(path))


def from_arrays(arrays: dict[str, np.ndarray], where: str, stamp: str = "") -> dict[str, Source]:
    """The splits in arrays of the names that `load_arrays` describes; raises UserError.

    where: what errors begin with. stamp: see `Source`.
    """
    pairs = {}
    for suffix, role in _ROLES.items():
        names = f"image{suffix}", f"label{suffix}"
        if not any(name in arrays for name in names):
            continue
        for name in names:
            if name not in arrays:
                raise UserError(
                    f"{where}: has no array {name!r}{nearest(name, arrays)}; it has "
                    f"{', '.join(arrays)}"
                )
        if role in pairs:
            first = next(s for s, r in _ROLES.items() if r == role and f"image{s}" in arrays)
            raise UserError(f"{where}: has both image{first} and image{suffix}; both are {role}")
        pairs[role] = tuple(arrays[name] for name in names)
        _check(where, *names, *pairs[role])
        _warn_of_bands(where, names[0], pairs[role][0])
    if "train" not in pairs:
        present = ", ".join(arrays) or "none"
        raise UserError(f"{where}: has no arrays 'image' and 'label'; it has {present}")
    class_names, labels = _classes(where, arrays, {role: pair[1] for role, pair in pairs.items()})
    return {
        role: Source(
            size=len(image),
            class_names=class_names,
            read=_reader(image, labels[role]),
            identity=f"{role}: {image.dtype}{list(image.shape)}, {_digest(image, labels[role])}",
            stamp=stamp,
            labels=partial(labels.__getitem__, role),
            cached=False,
            array=image if image.dtype == np.uint8 and image.shape[3:] in ((1,), (3,)) else None,
        )
        for role, (image, _) in pairs.items()
    }


def _open(path: Path) -> dict[str, np.ndarray]:
    where = f"config.data.dir={str(path)!r}"
    try:
        if path.is_dir():
            return {file.stem: np.load(file, mmap_mode="r") for file in sorted(path.glob("*.npy"))}
        with path.open("rb") as file:
            head = file.read(6)
        if head == b"\x93NUMPY":
            raise UserError(f"{where}: is one array; give an .npz file, or a folder of .npy files")
        if not head.startswith(b"PK"):  # as NumPy would, with advice to allow pickles
            raise UserError(f"{where}: is no .npz file")
        with np.load(path, allow_pickle=False) as content:
            return dict(content)
    except FileNotFoundError as error:
        raise UserError(f"{where}: no such file") from error
    except MemoryError as error:
        raise UserError(
            f"{where}: {error}; a folder of .npy files instead is not read into memory"
        ) from error
    except _UNREADABLE as error:
        reason = "it holds Python objects" if "object" in str(error).lower() else error
        raise UserError(f"{where}: not readable as NumPy arrays ({reason})") from error


def _check(where: str, image_name: str, label_name: str, image: np.ndarray, label: np.ndarray):
    if image.dtype not in (np.uint8, np.uint16) or image.ndim not in (3, 4):
        raise UserError(
            f"{where}: {image_name} is {image.dtype}{list(image.shape)}; expected uint8 or uint16 "
            "of shape [N, H, W] or [N, H, W, C]"
        )
    if image.ndim == 4 and image.shape[-1] not in (1, 2, 3, 4):
        raise UserError(
            f"{where}: {image_name} has {image.shape[-1]} channels (shape {list(image.shape)}); "
            "expected 1 or 3 (2 or 4 with alpha), last"
        )
    if 0 in image.shape:
        raise UserError(f"{where}: {image_name} is empty: {image.dtype}{list(image.shape)}")
    if label.shape != (len(image),) or label.dtype.kind not in "iuU":
        raise UserError(
            f"{where}: {label_name} is {label.dtype}{list(label.shape)}; expected {len(image)} "
            "whole numbers or names"
        )


def _warn_of_bands(where: str, name: str, image: np.ndarray) -> None:
    """Logs where a last band that is taken for alpha does not look like it, in a hundred images."""
    if image.shape[3:] not in ((2,), (4,)):
        return
    some = image[np.unique(np.linspace(0, len(image) - 1, min(len(image), 100), dtype=int))]
    if (share := partly_clear(some)) > ODD_ALPHA:
        logger.warning(
            "%s: %s has %d bands, and the last is taken for alpha, which lays the images on "
            "data.background; but %.0f %% of its values are neither clear nor opaque: keep the "
            "bands to learn from, one or three (image[..., :%d])",
            where,
            name,
            image.shape[3],
            100 * share,
            image.shape[3] - 1,
        )


def _classes(
    where: str, arrays: dict[str, np.ndarray], labels: dict[str, np.ndarray]
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Class names, and labels as int32 numbers of them."""
    if len({label.dtype.kind == "U" for label in labels.values()}) > 1:
        raise UserError(f"{where}: labels are numbers in one split and names in another")
    together = np.concatenate(list(labels.values()))
    if together.dtype.kind == "U":
        class_of = class_of_labels(where, np.unique(together).tolist())
        labels = {k: np.array([class_of[name] for name in v.tolist()]) for k, v in labels.items()}
        together = np.concatenate(list(labels.values()))
        names = np.unique(labels["train"])
        check_classes(where, names.tolist(), together.tolist())
        numbers = {k: np.searchsorted(names, v).astype(np.int32) for k, v in labels.items()}
        return tuple(map(str, names)), numbers
    named = arrays.get("class_names")
    if named is not None and (named.ndim != 1 or named.dtype.kind not in "iuU"):
        raise UserError(f"{where}: class_names is {named.dtype}{list(named.shape)}; expected names")
    count = len(named) if named is not None else int(together.max()) + 1
    if together.min() < 0 or together.max() >= count:
        raise UserError(
            f"{where}: labels are {together.min()} to {together.max()}; expected 0 to K - 1 of K "
            f"classes{f' ({count} are named)' if named is not None else ''}"
        )
    present = np.unique(labels["train"])
    if named is None and len(present) < count:
        gap = next(k for k, label in enumerate([*present.tolist(), count]) if k != label)
        raise UserError(
            f"{where}: train has no images of label {gap}, and labels go up to {count - 1}; number "
            "the classes from 0 without gaps, or name them all in an array class_names"
        )
    class_names = map(str, range(count) if named is None else named)
    return tuple(class_names), {k: v.astype(np.int32) for k, v in labels.items()}


def _reader(
    image: np.ndarray, label: np.ndarray
) -> Callable[[np.ndarray], tuple[list[Content], np.ndarray]]:
    return lambda index: (list(np.asarray(image[index])), label[index])


def _digest(image: np.ndarray, label: np.ndarray) -> str:
    """Of all labels and of a hundred images, so that large arrays are not read for it."""
    digest = hashlib.sha256(label.tobytes())
    for i in np.linspace(0, len(image) - 1, num=min(len(image), 100), dtype=int):
        digest.update(np.ascontiguousarray(image[i]).tobytes())
    return digest.hexdigest()[:16]


def _stamp(path: Path) -> str:
    files = sorted(path.glob("*.npy")) if path.is_dir() else [path]
    return " ".join(f"{f.name}:{f.stat().st_size}:{f.stat().st_mtime_ns}" for f in files)
