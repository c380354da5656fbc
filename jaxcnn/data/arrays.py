"""Images that are arrays already: one .npz file, or a folder of .npy files."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from jaxcnn.data.source import Content, Source
from jaxcnn.errors import UserError, nearest

# The suffixes of array names -> roles.
_ROLES = {"": "train", "_train": "train", "_val": "validation", "_validation": "validation",
          "_test": "test"}  # fmt: skip


def load_arrays(*, dir: str) -> dict[str, Source]:
    """Arrays named image (uint8 or uint16 [N, H, W] or [N, H, W, C]) and label (whole numbers from
    0, or names), and if there are such splits image_val, label_val, image_test, label_test.

    dir: an .npz file, or a folder of image.npy, label.npy, ...; those are memory-mapped.
    An array class_names, if there is one, names the classes 0..K-1.
    """
    arrays = _open(Path(dir).expanduser())
    where = f"config.data.dir={dir!r}"
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
            raise UserError(f"{where}: has both image and image{suffix}; both are {role}")
        pairs[role] = tuple(arrays[name] for name in names)
        _check(where, *names, *pairs[role])
    if "train" not in pairs:
        raise UserError(f"{where}: has no arrays 'image' and 'label'; it has {', '.join(arrays)}")
    class_names, labels = _classes(where, arrays, {role: pair[1] for role, pair in pairs.items()})
    stamp = _stamp(Path(dir).expanduser())
    return {
        role: Source(
            size=len(image),
            class_names=class_names,
            read=_reader(image, labels[role]),
            identity=f"{role}: {image.dtype}{list(image.shape)}, {_digest(image, labels[role])}",
            stamp=stamp,
            labels=partial(labels.__getitem__, role),
            cached=False,
        )
        for role, (image, _) in pairs.items()
    }


def _open(path: Path) -> dict[str, np.ndarray]:
    where = f"config.data.dir={str(path)!r}"
    try:
        if path.is_dir():
            return {file.stem: np.load(file, mmap_mode="r") for file in sorted(path.glob("*.npy"))}
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            raise UserError(f"{where}: is one array; give an .npz file, or a folder of .npy files")
        return dict(content)
    except FileNotFoundError as error:
        raise UserError(f"{where}: no such file") from error
    except (OSError, ValueError, EOFError) as error:
        raise UserError(f"{where}: not readable as NumPy arrays ({error})") from error


def _check(where: str, image_name: str, label_name: str, image: np.ndarray, label: np.ndarray):
    if image.dtype not in (np.uint8, np.uint16) or image.ndim not in (3, 4):
        raise UserError(
            f"{where}: {image_name} is {image.dtype}{list(image.shape)}; expected uint8 or uint16 "
            "of shape [N, H, W] or [N, H, W, C]"
        )
    if image.ndim == 4 and image.shape[-1] not in (1, 2, 3, 4):
        raise UserError(
            f"{where}: {image_name} has {image.shape[-1]} channels (shape {list(image.shape)}); "
            "expected 1 or 3, last"
        )
    if label.shape != (len(image),) or label.dtype.kind not in "iuU":
        raise UserError(
            f"{where}: {label_name} is {label.dtype}{list(label.shape)}; expected {len(image)} "
            "whole numbers or names"
        )


def _classes(
    where: str, arrays: dict[str, np.ndarray], labels: dict[str, np.ndarray]
) -> tuple[tuple[str, ...], dict[str, np.ndarray]]:
    """Class names, and labels as int32 numbers of them."""
    together = np.concatenate(list(labels.values()))
    if together.dtype.kind == "U":
        names = np.unique(labels["train"])
        missing = np.setdiff1d(together, names)
        if len(missing):
            raise UserError(f"{where}: train has no images of class {str(missing[0])!r}")
        numbers = {k: np.searchsorted(names, v).astype(np.int32) for k, v in labels.items()}
        return tuple(map(str, names)), numbers
    given = arrays.get("class_names")
    count = len(given) if given is not None else int(together.max()) + 1
    if together.min() < 0 or together.max() >= count or count < 2:
        raise UserError(
            f"{where}: labels are {together.min()} to {together.max()}; expected 0 to K - 1 of K "
            f"classes{f' ({count} are named)' if given is not None else ''}"
        )
    class_names = map(str, range(count) if given is None else given)
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
