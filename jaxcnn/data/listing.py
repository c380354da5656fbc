"""What lies in folders of images: which files are examples, and why the others are none."""

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from jaxcnn.data.kinds import HEAD, SUFFIXES, kind_of, other_kind
from jaxcnn.errors import UserError, first_few, printable
from jaxcnn.files.rundir import (
    CHECKPOINTS,
    CONFIG,
    DATASET,
    ENVIRONMENT,
    EVALUATION,
    EXPORT,
    LOCK,
    METRICS,
    REPORT,
    REPORT_PAGE,
    WORKER_LOCK,
)

# What file managers, NAS systems, archives, cameras, editors and notebooks leave, in lower case.
# Names that begin with a point are of that kind too: .DS_Store, .thumbnails, .git, .Trash-1000.
_CLUTTER = frozenset({
    "@eadir", "@tmp", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "~snapshot",
    "$recycle.bin", "recycler", "recycled", "system volume information", "found.000",
    "lost+found", "lost.dir", "network trash folder", "temporary items", "__macosx", "icon\r",
    "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini", "dicomdir",
    "__pycache__", "_vti_cnf", "cvs",
})  # fmt: skip

# What a folder holds that jaxcnn has written: a run, seeds, a report, a check, a comparison, a
# search, files for other systems, an entry of the cache.
_WRITTEN = [
    *({CONFIG, other} for other in (DATASET, ENVIRONMENT, METRICS, CHECKPOINTS)),
    {EVALUATION, REPORT}, {EVALUATION, "seed_0"}, {"metrics.json", "predictions.csv"},
    {"check.json", REPORT_PAGE},
    {"check.json", "unreadable.csv", "duplicates.csv"}, {"check.json", "groups.csv"},
    {"compare.json", "compare.html"}, {"study.journal"}, {"best.json", "trials.csv"},
    {"learning_rate.json"}, {"batch_size.json"}, {"what.json", "label.npy"},
    *({"model.json", other} for other in (
        "model.onnx", "model.stablehlo", "model.safetensors", "model.keras", "model.h5",
        "saved_model", "triton",
    )),
]  # fmt: skip
# The folders in those, or what their names begin with; any other folder there may be somebody's.
_INSIDE = (CHECKPOINTS, REPORT, EXPORT, "plugins", "seed_", "trials", "triton", "saved_model")
# The pictures beside those; any other picture there is somebody's.
_SHEETS = frozenset(f"{name}.png" for name in (
    "samples", "confusion_matrix", "classes", "reliability", "curves", "robustness", "projection",
    "predictions", "misclassified", "grad_cam", "feature_maps", "neighbours", "filters",
    "occlusion", "label_errors", "seeds", "learning_rate", "history", "importance",
    "parallel_coordinates", "slices", "learning_curves",
))  # fmt: skip

# Why something is no example.
CLUTTER, WRITTEN, UNREAD = "clutter", "written_by_jaxcnn", "kinds_not_read"
LOOSE, BESIDE, UNDERSCORES = "loose_images", "unused_folders", "underscores"

# {(why, of what kind): paths}; those of folders end in a slash.
LeftOut = dict[tuple[str, str], list[str]]


class Note(NamedTuple):
    """What is said of things left out. harmless: whether nobody will have meant them as examples.

    what: how many, of what kind, the first of them; advice: what to do.
    """

    why: str
    harmless: bool
    what: str
    advice: str


def list_images(folder: Path, root: Path, above: str = "") -> tuple[list[str], LeftOut]:
    """Returns the images below a folder, in order, and what else is there; links are followed, but
    not in a circle. Raises UserError where a folder cannot be listed.

    Paths are relative to root, with slashes; those of what is left out begin with `above`.
    """
    images: list[str] = []
    left_out: LeftOut = {}
    outer: dict[str, frozenset[tuple[int, int]]] = {str(folder): frozenset()}
    for at, folders, names in os.walk(folder, onerror=not_listed, followlinks=True):
        fact = Path(at).stat()
        known = outer.pop(at)
        me = fact.st_dev, fact.st_ino
        if me in known:
            folders.clear()
            continue
        relative = Path(at).relative_to(root).as_posix()
        prefix = "" if relative == "." else f"{relative}/"
        if is_written(folders, names):
            add(left_out, {(WRITTEN, ""): [prefix]}, above)
            folders.clear()
            continue
        folders[:], here, others = sort_entries(at, sorted(folders), sorted(names))
        outer |= {os.path.join(at, name): known | {me} for name in folders}  # noqa: PTH118
        images += [prefix + name for name in here]
        add(left_out, others, above + prefix)
    return sorted(images), left_out


def sort_entries(
    at: str, folders: Iterable[str], names: Iterable[str]
) -> tuple[list[str], list[str], LeftOut]:
    """Returns (folders to look into, images, what is left out) of the entries of one folder."""
    inside, images = [], []
    left_out: LeftOut = {}
    contents: dict[str, str] = {}  # of the first file of each suffix
    for name in folders:
        if is_clutter(name):
            left_out.setdefault((CLUTTER, f"{name}/"), []).append(f"{name}/")
        elif name.startswith("__"):
            left_out.setdefault((UNDERSCORES, ""), []).append(f"{name}/")
        else:
            inside.append(name)
    mixed = _has_marks({*inside, *(names := list(names))})
    written = _SHEETS.union(*_WRITTEN) if mixed else ()
    for name in names:
        if name in written:
            left_out.setdefault((WRITTEN, ""), []).append(name)
        elif (why := why_no_image(at, name, contents)) is None:
            images.append(name)
        else:
            left_out.setdefault(why, []).append(name)
    return inside, images, left_out


def why_no_image(at: str, name: str, contents: dict[str, str]) -> tuple[str, str] | None:
    """Returns (why, of what kind) a file in the folder `at` is no example; None for one that is: an
    image by its name, or one without a suffix by its first bytes.

    contents: {suffix: what the first file of that suffix holds}, which is added to.
    """
    lower = name.lower()
    if is_clutter(name):
        return CLUTTER, name
    if lower.endswith(SUFFIXES):
        return None
    suffix = os.path.splitext(lower)[1]  # noqa: PTH122
    numbered = suffix[1:].isdecimal()  # as DICOM files are
    if not suffix or numbered or suffix not in contents:
        kind, content = look(os.path.join(at, name))  # noqa: PTH118
        if (not suffix and kind is not None) or (numbered and kind == "dicom"):
            return None
        contents[suffix] = (suffix or "without a suffix") + (content and f", {content}")
    return UNREAD, contents[suffix]


def look(path: str) -> tuple[str | None, str]:
    """The kind of an image, or None, and a word for what a file holds, "" where nothing tells."""
    try:
        if not os.path.isfile(path):  # noqa: PTH113 - a pipe would be waited for
            return None, ""
        with open(path, "rb") as file:  # noqa: PTH123
            head = file.read(HEAD)
    except OSError:
        return None, ""
    kind = kind_of(head)
    return kind, f"{kind.upper()} inside" if kind else other_kind(head) or ""


def is_clutter(name: str) -> bool:
    """Whether a file or folder is never data, by its name."""
    lower = name.lower()
    return lower.startswith((".", "~$")) or lower in _CLUTTER or lower.endswith(":zone.identifier")


def is_written(folders: Collection[str], names: Collection[str]) -> bool:
    """Whether a folder of these folders and files is one that jaxcnn has made, with nothing else in
    it that may be data; also one in which a run is about to begin.
    """
    if names and not folders and all(name.startswith(".") for name in names):
        return not {LOCK, WORKER_LOCK}.isdisjoint(names)
    return (
        _has_marks({*folders, *names})
        and all(name.startswith(_INSIDE) or is_clutter(name) for name in folders)
        and all(name in _SHEETS or not name.lower().endswith(SUFFIXES) for name in names)
    )


def _has_marks(names: set[str]) -> bool:
    return any(marks <= names for marks in _WRITTEN)


def not_listed(error: OSError) -> None:
    raise UserError(f"{error.filename}: cannot be listed ({error.strerror})") from error


def add(left_out: LeftOut, more: LeftOut, above: str = "") -> None:
    """Adds what was left out elsewhere, its paths below `above`."""
    for why, paths in more.items():
        left_out.setdefault(why, []).extend(above + path for path in paths)


def counts_of(left_out: LeftOut) -> dict[str, int]:
    """Returns how many files and folders are left out, by reason."""
    counts: Counter[str] = Counter()
    for (why, _), paths in left_out.items():
        counts[why] += len(paths)
    return dict(counts)


def notes(left_out: LeftOut) -> list[Note]:
    """Returns what to say of all that is left out, a note for each reason."""
    by_reason: dict[str, dict[str, list[str]]] = {}
    for (why, kind), paths in left_out.items():
        by_reason.setdefault(why, {})[kind] = paths
    return [_NOTES[why](by_reason[why]) for why in _NOTES if why in by_reason]


def _counted(kinds: Mapping[str, list[str]]) -> str:
    ordered = sorted(kinds.items(), key=lambda item: -len(item[1]))
    return first_few((f"{len(paths):,} {printable(kind)}" for kind, paths in ordered), 5)


def _named(kinds: Mapping[str, list[str]], count: int = 3) -> str:
    return first_few((printable(path) for paths in kinds.values() for path in paths), count)


def _are(kinds: Mapping[str, list[str]], one: str) -> str:
    """Returns "1 file is", "2 files are"; one: the noun."""
    total = sum(map(len, kinds.values()))
    return f"1 {one} is" if total == 1 else f"{total:,} {one}s are"


def _unread(kinds: Mapping[str, list[str]]) -> Note:
    # Where the first bytes tell what it is, it may have been meant: that comes first.
    ordered = sorted(kinds.items(), key=lambda item: ("," not in item[0], -len(item[1])))
    told = (
        f"{len(paths):,} {printable(kind)} ({printable(paths[0])}{', ...' * (len(paths) > 1)})"
        for kind, paths in ordered
    )
    what = f"{_are(kinds, 'file')} of kinds that are not read: {first_few(told, 6)}"
    advice = "nothing, unless they are images: then give them a known suffix, or convert them"
    return Note(UNREAD, not any("," in kind for kind in kinds), what, advice)


_NOTES: dict[str, Callable[[Mapping[str, list[str]]], Note]] = {
    UNREAD: _unread,
    LOOSE: lambda kinds: Note(
        LOOSE,
        False,
        f"{_are(kinds, 'image')} in no class folder, and not used: {_named(kinds)}",
        "move them into the folder of their class, or away",
    ),
    BESIDE: lambda kinds: Note(
        BESIDE,
        False,
        f"not used: {_named(kinds, 10)}",
        "of folders beside train/ only val/ and test/ are read",
    ),
    UNDERSCORES: lambda kinds: Note(
        UNDERSCORES,
        False,
        f"{_are(kinds, 'folder')} not used, as the name begins with __: {_named(kinds)}",
        "rename what holds examples",
    ),
    CLUTTER: lambda kinds: Note(
        CLUTTER, True, f"never data, and not used: {_counted(kinds)}", "nothing to do"
    ),
    WRITTEN: lambda kinds: Note(
        WRITTEN, True, f"written by jaxcnn, and not used: {_named(kinds)}", "nothing to do"
    ),
}
