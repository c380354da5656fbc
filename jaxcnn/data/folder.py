"""A folder of images: ROOT/<class>/*.jpg, with or without train, val and test above the classes."""

import errno
import hashlib
import os
import re
import stat
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcnn.data.labels import merge_spellings, warn_of_spellings
from jaxcnn.data.listing import (
    BESIDE,
    LOOSE,
    WRITTEN,
    LeftOut,
    add,
    list_images,
    look,
    not_listed,
    sort_entries,
)
from jaxcnn.data.source import Content, Source
from jaxcnn.errors import UserError, printable

# No image that decodes to a size jaxcnn takes is larger; reading this much at once is no use.
_MAX_BYTES = 2**31
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
    """The files of one split: paths relative to `root`, and labels int32[n].

    within: what messages write before a path, so that test/cat/1.jpg is not train/cat/1.jpg.
    """

    root: Path
    paths: Sequence[str]
    label: np.ndarray
    within: str = ""


def load_folder(*, dir: str, group_pattern: str | None = None) -> dict[str, Source]:
    """Images in class folders, ROOT/<class>/**, in splits if ROOT has train/ and val/ or test/.

    dir: ROOT.
    group_pattern: a regular expression searched in the path below the split's root; files in which
      its capture groups match the same text (one patient, one track) are never split.
    """
    root = Path(dir).expanduser()
    roles, left_out = find_roles(root)
    listed = {role: _list_classes(folder, root, left_out) for role, folder in roles.items()}
    listed = _with_one_spelling(f"config.data.dir={dir!r}", listed)
    class_names = _class_names(roles["train"], listed["train"])
    sources = {}
    for role, folder in roles.items():
        files = _files(folder, listed[role], class_names, must_have_all=role == "train")
        if folder != root:
            files = files._replace(within=f"{folder.name}/")
        groups = group_pattern and match_groups(files.paths, group_pattern)
        sources[role] = files_source(files, class_names, groups or None)
    sources["train"] = sources["train"]._replace(left_out=left_out)
    return sources


def files_source(
    files: Files, class_names: tuple[str, ...], groups: Sequence[str] | None = None
) -> Source:
    """A source of files on disk. groups: for each, the name of what must not be split."""
    root, paths, label, within = files
    # os.path.join, because a table's paths may be absolute.
    facts = [_fact(os.path.join(root, path)) for path in paths]  # noqa: PTH118
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
        name=lambda i: printable(within + paths[i]),
        labels=lambda: label,
        unit=np.array([_hash(group) for group in groups or paths], np.uint64),
        paths=[within + path for path in paths],
        groups=groups and [group.replace("\0", "/") for group in groups],
    )


def find_roles(root: Path) -> tuple[dict[str, Path], LeftOut]:
    """Returns {"train": folder of class folders, ["validation": ...], ["test": ...]} and what is
    left out beside them; UserError if the folder is not laid out like that.
    """
    where = f"config.data.dir={str(root)!r}"
    if not root.is_dir():
        source = {".csv": "csv", ".npz": "arrays"}.get(root.suffix.lower())
        hint = f"; give --config.data.source={source}" if source else ""
        raise UserError(f"{where}: " + (f"is a file{hint}" if root.exists() else "no such folder"))
    roles: dict[str, Path] = {}
    others = []
    for folder in _folders(root):
        role = ROLE_NAMES.get(folder.name.lower())
        if role in roles:
            raise UserError(f"{where}: {roles[role].name}/ and {folder.name}/ are both {role}")
        if role is None:
            others.append(folder)
        else:
            roles[role] = folder
    # A class may be called "train" (a vehicle) or "test": then there are images right in it.
    if not roles or (others and not any(_folders(folder) for folder in roles.values())):
        return {"train": root}, {}
    if "train" not in roles:
        raise UserError(
            f"{where}: has {', '.join(f.name for f in roles.values())} but no train/ (a folder for "
            "each class inside)"
        )
    _, images, left_out = _entries(root)
    for folder in others:
        images_in_it, inside = list_images(folder, root)
        why = WRITTEN if not images_in_it and _written(inside) else BESIDE
        add(left_out, {(why, ""): [f"{folder.name}/"]})
    if images:
        left_out[LOOSE, ""] = images
    return {
        role: roles[role] for role in ("train", "validation", "test") if role in roles
    }, left_out


def _list_classes(folder: Path, root: Path, left_out: LeftOut) -> dict[str, list[str]]:
    """Returns {folder: the images in it} of all folders that may be classes, and adds what else
    there is to `left_out`. What holds nothing but what jaxcnn wrote is no class.
    """
    above = "" if folder == root else f"{folder.name}/"
    names, loose, others = _entries(folder)
    add(left_out, others, above)
    if loose:
        add(left_out, {(LOOSE, ""): loose}, above)
    classes = {}
    for name in names:
        images, inside = list_images(folder / name, folder, above)
        if images or not _written(inside):
            classes[name] = images
        add(left_out, inside)
    return classes


def _with_one_spelling(
    where: str, listed: dict[str, dict[str, list[str]]]
) -> dict[str, dict[str, list[str]]]:
    """The images of each role by class: folders whose names are spellings of one are one class, and
    a warning tells.
    """
    name_of = merge_spellings(name for classes in listed.values() for name in classes)
    if all(folder == name for folder, name in name_of.items()):
        return listed
    warn_of_spellings(f"{where}: folders", name_of)
    merged: dict[str, dict[str, list[str]]] = {role: {} for role in listed}
    for role, classes in listed.items():
        for folder, images in classes.items():
            merged[role].setdefault(name_of[folder], []).extend(images)
    return merged


def _written(left_out: LeftOut) -> bool:
    return any(why == WRITTEN for why, _ in left_out)


def _class_names(root: Path, classes: Mapping[str, list[str]]) -> tuple[str, ...]:
    where = f"config.data.dir={str(root)!r}"
    names = list(classes)
    if not names:
        loose = len(_entries(root)[1])
        has = f"has none, and {loose:,} images directly in it" if loose else "has none"
        raise UserError(f"{where}: expected a folder for each class, <class>/*.jpg; it {has}")
    for name in names:
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):
            raise UserError(f"{where}: rename the class folder {name!r}; it is no text of one line")
    inside = [folder.name for folder in _folders(root / names[0])] if len(names) == 1 else []
    if len(inside) > 1:
        raise UserError(
            f"{where}: only one class ({names[0]!r}), and a classifier needs two; did you mean "
            f"{root / names[0]}?"
        )
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


def _files(
    root: Path,
    classes: Mapping[str, list[str]],
    class_names: tuple[str, ...],
    *,
    must_have_all: bool,
) -> Files:
    paths: list[str] = []
    label: list[int] = []
    check_classes(f"config.data.dir={str(root)!r}", class_names, classes)
    for k, name in enumerate(class_names):
        mine = classes.get(name, [])
        if not mine and must_have_all:
            raise UserError(
                f"config.data.dir: class folder {str(root / name)!r} has no images"
                f"{_instead(root / name)}; remove it or fill it"
            )
        paths += mine
        label += [k] * len(mine)
    if not paths:
        loose = _entries(root)[1]
        raise UserError(
            f"config.data.dir: {str(root)!r} has no images"
            + (" in class folders, <class>/*.jpg; sort them, or move it away" if loose else "")
        )
    return Files(root, paths, np.array(label, np.int32))


def _instead(folder: Path) -> str:
    """What a folder without images has instead."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file())
    if not names:
        return ""
    content = look(str(folder / names[0]))[1]
    first = printable(names[0]) + (f", {content}" if content else "")
    return f" of a kind jaxcnn reads (but {first}{', ...' if len(names) > 1 else ''})"


def _entries(root: Path) -> tuple[list[str], list[str], LeftOut]:
    """Returns (folders, images, what is left out) of what is right in a folder."""
    try:
        entries = sorted(os.scandir(root), key=lambda entry: entry.name)
    except OSError as error:
        not_listed(error)
    folders = [entry.name for entry in entries if entry.is_dir()]
    return sort_entries(str(root), folders, (e.name for e in entries if not e.is_dir()))


def _folders(root: Path) -> list[Path]:
    return [root / name for name in _entries(root)[0]]


def _reader(files: Files) -> Callable[[np.ndarray], tuple[list[Content], np.ndarray]]:
    def content(i: int) -> Content:
        try:
            return read_file(os.path.join(files.root, files.paths[i]))  # noqa: PTH118
        except OSError as error:
            return error

    def read(index: np.ndarray) -> tuple[list[Content], np.ndarray]:
        return [content(i) for i in index.tolist()], files.label[index]

    return read


def read_file(path: str) -> bytes:
    """The content of one file that may be an image; OSError where it cannot be read."""

    def not_waiting(path: str, flags: int) -> int:
        # A pipe that nobody writes to would hold a thread forever.
        return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))

    with open(path, "rb", buffering=0, opener=not_waiting) as file:
        fact = os.fstat(file.fileno())
        if not stat.S_ISREG(fact.st_mode):
            raise OSError(errno.EINVAL, "no regular file")
        if fact.st_size > _MAX_BYTES:
            raise OSError(errno.EFBIG, f"{fact.st_size / 1e9:.1f} GB, more than an image takes")
        return file.read()


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


def load_unlabelled(folder: Path) -> Source:
    """All images below a folder, of one class without a name; UserError where there are none."""
    if not folder.is_dir():
        raise UserError(
            f"{folder}: {'is a file; give a folder' if folder.exists() else 'no such folder'}"
        )
    paths, left_out = list_images(folder, folder)
    if not paths:
        raise UserError(f"{folder}: has no images of a kind jaxcnn reads")
    source = files_source(Files(folder, paths, np.zeros(len(paths), np.int32)), ("",))
    return source._replace(left_out=left_out)
