"""The numbers of a checked data set: for `check.json`, a terminal, and tables of other programs."""

import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcnn.checking.examples import Copies, Examples, Leak
from jaxcnn.checking.findings import Finding, class_counts
from jaxcnn.data.listing import LeftOut, counts_of
from jaxcnn.errors import first_few, printable


def summarize(
    examples: Examples,
    roles: np.ndarray,
    copies: Sequence[Copies],
    findings: Sequence[Finding],
    left_out: LeftOut,
) -> dict[str, Any]:
    """Returns all numbers; lists of examples are in the tables beside it.

    mean, std: of the pixels of train over 0..1, by channel; one number where all channels agree.
    sizes: [height, width, count], the commonest first.
    """
    usable, names = examples.usable, examples.class_names
    counts = class_counts(examples, roles)
    train = np.flatnonzero(roles == "train")
    present = counts["train"][counts["train"] > 0] if "train" in counts else np.ones(1)
    return {
        "images": len(examples),
        "clean": not any(finding.harm for finding in findings),
        "findings": [finding._asdict() for finding in findings],
        "identity": {part: source.identity for part, source in examples.sources.items()},
        "splits": {role: int((roles == role).sum()) for role in counts},
        "classes": {
            name: {role: int(count[k]) for role, count in counts.items()}
            for k, name in enumerate(names)
        },
        "imbalance": float(present.max() / present.min()),
        "unreadable": len(examples.bad),
        "formats": _counted(examples.format[n] for n in usable),
        "modes": _counted(examples.mode[n] for n in usable),
        "sizes": _sizes(examples.size[usable]),
        "shorter_side": _spread(examples.size[usable].min(axis=1)),
        "longer_side": _spread(examples.size[usable].max(axis=1)),
        **_statistics(examples, train),
        "duplicates": {
            "images": len(copies),
            "copies": sum(len(group.numbers) - 1 for group in copies),
            "under_two_labels": sum(len(group.labels) > 1 for group in copies),
            "in_two_splits": sum(len(group.roles) > 1 for group in copies),
        },
        "ignored_files": sum(map(len, left_out.values())),
        "left_out": counts_of(left_out),
    }


def headline(facts: Mapping[str, Any]) -> str:
    """Returns a line about the images, classes and splits. facts: of `summarize`."""
    splits = " + ".join(f"{n:,} {role}" for role, n in facts["splits"].items())
    return f"{facts['images']:,} images in {len(facts['classes']):,} classes: {splits or 'none'}"


def copies_line(counts: Mapping[str, int]) -> str:
    """Returns a line about identical examples. counts: "duplicates" of `summarize`."""
    copies, images = counts["copies"], counts["images"]
    return (
        f"{copies:,} identical {'copy' if copies == 1 else 'copies'}: {images:,} "
        f"{'image occurs' if images == 1 else 'images occur'} more than once, "
        f"{counts['under_two_labels']:,} under more than one label, "
        f"{counts['in_two_splits']:,} in more than one split"
    )


def _counted(names: Any) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _sizes(size: np.ndarray) -> list[list[int]]:
    sizes, count = np.unique(size, axis=0, return_counts=True)
    order = np.argsort(-count, kind="stable")
    return np.column_stack([sizes, count])[order].tolist()


def _spread(side: np.ndarray) -> dict[str, int]:
    if not len(side):
        return {}
    return {"least": int(side.min()), "median": int(np.median(side)), "most": int(side.max())}


def _statistics(examples: Examples, train: np.ndarray) -> dict[str, list[float]]:
    if not len(train):
        return {"mean": [], "std": []}
    mean, std = examples.statistics(train)
    channels = 1 if (examples.sums[train] == examples.sums[train, :1]).all() else 3
    return {"mean": mean[:channels], "std": std[:channels]}


# Classes, and images that cannot be used, that a terminal shows.
_SHOWN = 20
_SHOWN_BAD = 10


def data_text(examples: Examples, findings: Sequence[Finding], facts: Mapping[str, Any]) -> str:
    """Returns what the command prints. facts: of `summarize`."""
    sizes = [f"{width}x{height}" for height, width, _ in facts["sizes"]]
    lines = [
        headline(facts),
        *_counts(facts["classes"], list(facts["splits"])),
        "",
        f"formats: {_listed(facts['formats'])} · colours: {_listed(facts['modes'])}",
        "sizes (width x height): " + (first_few(sizes, 4) or "none"),
    ]
    if facts["mean"]:
        mean, std = (" ".join(f"{v:.4f}" for v in facts[name]) for name in ("mean", "std"))
        lines.append(f"train pixels: mean {mean} · standard deviation {std}")
    if (copies := facts["duplicates"])["images"]:
        lines.append(copies_line(copies))
    for n in sorted(examples.bad)[:_SHOWN_BAD]:
        lines.append(f"unreadable: {examples.name(n)} {examples.bad[n]}")
    for harm, title in ((True, "would harm training:"), (False, "worth knowing:")):
        chosen = [finding for finding in findings if finding.harm == harm]
        lines += ["", title] if chosen else []
        for finding in chosen:
            lines += [f"- {finding.what}", f"  -> {finding.advice}"]
    return "\n".join(map(printable, lines))


def unreadable_csv(examples: Examples) -> bytes:
    """Returns all examples that cannot be used: part, row, image, label, reason."""
    rows = zip(map(examples.part, sorted(examples.bad)), unreadable_rows(examples), strict=True)
    header = ("part", "row", "image", "label", "reason")
    return _csv(header, [(*place, *row) for place, row in rows])


def unreadable_rows(examples: Examples) -> list[tuple[str, str, str]]:
    """Returns (image, label, reason) of each example that cannot be used."""
    return [
        (examples.name(n), examples.class_name(n), examples.bad[n]) for n in sorted(examples.bad)
    ]


def duplicates_csv(examples: Examples, roles: np.ndarray, copies: Sequence[Copies]) -> bytes:
    """Returns all identical examples, group by group: those under two labels come first."""
    header = ("group", "image", "label", "split", "labels", "splits")
    return _csv(header, duplicate_rows(examples, roles, copies))


def duplicate_rows(
    examples: Examples, roles: np.ndarray, copies: Sequence[Copies]
) -> list[tuple[int, str, str, str, int, int]]:
    """Returns (group, image, label, split, number of labels, of splits) of identical examples."""
    return [
        (
            k,
            examples.name(n),
            examples.class_name(n),
            str(roles[n]),
            len(same.labels),
            len(same.roles),
        )
        for k, same in enumerate(copies, 1)
        for n in same.numbers
    ]


def groups_csv(examples: Examples, roles: np.ndarray, leaks: Sequence[Leak]) -> bytes:
    """Returns all examples of groups that are in more than one split, group by group."""
    return _csv(("group", "image", "label", "split"), group_rows(examples, roles, leaks))


def group_rows(
    examples: Examples, roles: np.ndarray, leaks: Sequence[Leak]
) -> list[tuple[str, str, str, str]]:
    """Returns (group, image, label, split) of the examples of such groups."""
    return [
        (leak.name, examples.name(n), examples.class_name(n), str(roles[n]))
        for leak in leaks
        for n in leak.numbers
    ]


def _csv(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return lines.getvalue().encode("utf-8", "surrogateescape")  # names of files as they are


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{n:,} {name}" for name, n in counts.items()) or "none"


def _counts(classes: Mapping[str, Mapping[str, int]], roles: Sequence[str]) -> list[str]:
    width = max(5, *(len(name) for name in list(classes)[:_SHOWN]))
    lines = ["  " + "".ljust(width) + "".join(f"  {role:>10}" for role in roles)]
    for name, count in list(classes.items())[:_SHOWN]:
        lines.append(f"  {name.ljust(width)}" + "".join(f"  {count[role]:>10,}" for role in roles))
    if len(classes) > _SHOWN:
        lines.append(f"  and {len(classes) - _SHOWN:,} classes more")
    return lines
