"""A folder of images: ROOT/<class>/*.jpg, with or without train, val and test above the classes."""

import hashlib
import os
import re
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcnn.data.source import Content, Source
from jaxcnn.errors import UserError

SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm", ".dcm",
)  # fmt: skip
# Names of folders, in any case, that hold the classes of one role.
ROLE_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


class Files(NamedTuple):
    """The files of one split: paths relative to `root`, and labels int32[n]."""

    root: Path
    paths: Sequence[str]
    label: np.ndarray


def load_folder(*, dir: str, group_pattern: str | None = None) -> dict[str, Source]:
    """Images in class folders, ROOT/<class>/**, in splits if ROOT has train/ and val/ or test/.

    dir: ROOT.
    group_pattern: a regular expression searched in the path below the split's root; files in which
      its capture groups match the same text (one patient, one track) are never split.
    """
    root = Path(dir).expanduser()
    roles = find_roles(root)
    class_names = _class_names(roles["train"])
    sources = {}
    for role, folder in roles.items():
        files = _list_files(folder, class_names, must_have_all=role == "train")
        groups = group_pattern and match_groups(files.paths, group_pattern)
        sources[role] = files_source(files, class_names, groups or None)
    return sources


def files_source(
    files: Files, class_names: tuple[str, ...], groups: Sequence[str] | None = None
) -> Source:
    """A source of files on disk. groups: for each, the name of what must not be split."""
    root, paths, label = files
    facts = [_fact(f"{root}/{path}") for path in paths]
    listing = "\n".join(
        f"{path}|{size}|{class_names[k]}"
        for path, (size, _), k in zip(paths, facts, label, strict=True)
    )
    return Source(
        size=len(paths),
        class_names=class_names,
        read=_reader(files),
        identity=f"{len(paths)} files in {len(class_names)} classes, {_digest(listing)}",
        stamp=f"{root.resolve()} {_digest(str(facts))}",
        name=lambda i: paths[i],
        labels=lambda: label,
        unit=np.array([_hash(group) for group in groups or paths], np.uint64),
    )


def find_roles(root: Path) -> dict[str, Path]:
    """{"train": folder of class folders, ["validation": ...], ["test": ...]}; UserError if the
    folder is not laid out like that.
    """
    where = f"config.data.dir={str(root)!r}"
    if not root.is_dir():
        raise UserError(f"{where}: " + ("is a file" if root.exists() else "no such folder"))
    roles: dict[str, Path] = {}
    for folder in _folders(root):
        role = ROLE_NAMES.get(folder.name.lower())
        if role in roles:
            raise UserError(f"{where}: {roles[role].name}/ and {folder.name}/ are both {role}")
        if role is not None:
            roles[role] = folder
    if not roles:
        return {"train": root}
    if "train" not in roles:
        raise UserError(f"{where}: has {', '.join(f.name for f in roles.values())} but no train/")
    return {role: roles[role] for role in ("train", "validation", "test") if role in roles}


def _class_names(root: Path) -> tuple[str, ...]:
    where = f"config.data.dir={str(root)!r}"
    names = [folder.name for folder in _folders(root)]
    if not names:
        raise UserError(f"{where}: expected a folder for each class, <class>/*.jpg; it has none")
    if len(names) == 1:
        inside = [folder.name for folder in _folders(root / names[0])]
        hint = f"; did you mean {root / names[0]}?" if len(inside) > 1 else ""
        raise UserError(f"{where}: only one class ({names[0]!r}), and a classifier needs two{hint}")
    return natural_order(names)


def natural_order(names: Iterable[str]) -> tuple[str, ...]:
    """Class names sorted, numbers in the order of numbers: traffic sign 2 comes before 10."""
    return tuple(
        sorted(names, key=lambda n: (not n.isdecimal(), int(n) if n.isdecimal() else 0, n))
    )


def check_classes(where: str, known: Collection[str], names: Iterable[str]) -> None:
    """UserError for a class that validation or test has and train lacks."""
    missing = sorted(set(names) - set(known))
    if missing:
        raise UserError(
            f"{where}: train has no images of class {missing[0]!r}, validation or test has; add "
            "some to train or remove it there"
        )


def _list_files(root: Path, class_names: tuple[str, ...], *, must_have_all: bool) -> Files:
    paths: list[str] = []
    label: list[int] = []
    found = [folder.name for folder in _folders(root)]
    check_classes(f"config.data.dir={str(root)!r}", class_names, found)
    for k, name in enumerate(class_names):
        mine = _images_below(root / name, root) if name in found else []
        if not mine and must_have_all:
            raise UserError(
                f"config.data.dir: class folder {root / name} has no images; remove it or fill it"
            )
        paths += mine
        label += [k] * len(mine)
    if not paths:
        raise UserError(f"config.data.dir: {root} has no images")
    return Files(root, paths, np.array(label, np.int32))


def _images_below(folder: Path, root: Path) -> list[str]:
    """Paths relative to root, with slashes, in order."""
    paths = []
    for at, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        relative = Path(at).relative_to(root).as_posix()
        paths += [
            f"{relative}/{name}"
            for name in names
            if not name.startswith(".") and name.lower().endswith(SUFFIXES)
        ]
    return sorted(paths)


def _folders(root: Path) -> list[Path]:
    try:
        entries = sorted(root.iterdir())
    except OSError as error:
        raise UserError(f"{root}: cannot be listed ({error.strerror})") from error
    return [path for path in entries if path.is_dir() and not path.name.startswith((".", "__"))]


def _reader(files: Files) -> Callable[[np.ndarray], tuple[list[Content], np.ndarray]]:
    def content(i: int) -> Content:
        try:
            return Path(files.root, files.paths[i]).read_bytes()
        except OSError as error:
            return error

    def read(index: np.ndarray) -> tuple[list[Content], np.ndarray]:
        return [content(i) for i in index.tolist()], files.label[index]

    return read


def match_groups(paths: Sequence[str], pattern: str) -> list[str]:
    """What the capture groups of `pattern` match in each path, joined."""
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(
            f"config.data.group_pattern={pattern!r}: not a regular expression ({error})"
        ) from error
    if not compiled.groups:
        raise UserError(
            f"config.data.group_pattern={pattern!r}: has no (capture group) to tell the groups by"
        )
    groups = []
    for path in paths:
        if (match := compiled.search(path)) is None:
            raise UserError(f"config.data.group_pattern={pattern!r}: does not match {path!r}")
        groups.append("\0".join(part or "" for part in match.groups()))
    return groups


def _fact(path: str) -> tuple[int, int]:
    """(size, time of the last change); -1 where there is no such file, which reading will tell."""
    try:
        stat = os.stat(path)  # noqa: PTH116 - five times as fast for many files
    except OSError:
        return -1, -1
    return stat.st_size, stat.st_mtime_ns


def _hash(text: str) -> int:
    return int.from_bytes(
        hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little"
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
