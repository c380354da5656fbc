"""A checked data set on a terminal, and in tables for other programs."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcnn.checking.find import Copies, Examples, Finding, copies_told, some
from jaxcnn.errors import printable

# Classes, and images that cannot be used, that a terminal shows.
_SHOWN = 20
_SHOWN_BAD = 10


def data_text(examples: Examples, findings: Sequence[Finding], facts: Mapping[str, Any]) -> str:
    """What the command prints. facts: what `summarize` gives."""
    splits = facts["splits"]
    sizes = [f"{width}x{height}" for height, width, _ in facts["sizes"]]
    lines = [
        f"{facts['images']:,} images in {len(facts['classes']):,} classes: "
        + " + ".join(f"{n:,} {role}" for role, n in splits.items()),
        *_counts(facts["classes"], list(splits)),
        "",
        f"formats: {_listed(facts['formats'])} · colours: {_listed(facts['modes'])}",
        "sizes (width x height): " + (some(sizes, 4) or "none"),
    ]
    if facts["mean"]:
        mean, std = (" ".join(f"{v:.4f}" for v in facts[name]) for name in ("mean", "std"))
        lines.append(f"train pixels: mean {mean} · standard deviation {std}")
    if (copies := facts["duplicates"])["images"]:
        lines.append(copies_told(copies))
    for n in sorted(examples.bad)[:_SHOWN_BAD]:
        lines.append(f"unreadable: {examples.name(n)} {examples.bad[n]}")
    for harm, title in ((True, "would harm training:"), (False, "worth knowing:")):
        chosen = [finding for finding in findings if finding.harm == harm]
        lines += ["", title] if chosen else []
        for finding in chosen:
            lines += [f"- {finding.what}", f"  -> {finding.advice}"]
    return "\n".join(map(printable, lines))


def unreadable_csv(examples: Examples) -> bytes:
    """All examples that cannot be used: part, row, image, label, reason."""
    rows = [
        (
            *examples.part(n),
            examples.name(n),
            examples.class_names[examples.label[n]],
            examples.bad[n],
        )
        for n in sorted(examples.bad)
    ]
    return _csv(("part", "row", "image", "label", "reason"), rows)


def duplicates_csv(examples: Examples, roles: np.ndarray, copies: Sequence[Copies]) -> bytes:
    """All identical examples, group by group: those under two labels come first."""
    rows = [
        (
            group,
            examples.name(n),
            examples.class_names[examples.label[n]],
            roles[n],
            len(same.labels),
            len(same.roles),
        )
        for group, same in enumerate(copies, 1)
        for n in same.numbers
    ]
    return _csv(("group", "image", "label", "split", "labels", "splits"), rows)


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
