"""The page about a checked data set."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcnn.checking.examples import Copies, Examples, Leak
from jaxcnn.checking.findings import Finding
from jaxcnn.checking.summary import (
    copies_line,
    duplicate_rows,
    group_rows,
    headline,
    unreadable_rows,
)
from jaxcnn.data.listing import LeftOut
from jaxcnn.errors import printable
from jaxcnn.report.page import (
    Html,
    Section,
    bar,
    details,
    figure,
    join,
    note,
    page,
    paragraph,
    picture,
    row,
    table,
)

# Rows of a table that are shown before the rest is folded away.
_SHOWN = 25
# Rows a page holds at most.
_MOST = 1000
# Groups of copies shown as pictures, and pictures of each.
MOST_GROUPS, MOST_COPIES = 50, 6
# Pixels across of a thumbnail on the page.
_THUMBNAIL = 96

_ABOUT_CLASSES = (
    "Images of each class. Classes with few images are learned badly and measured badly."
)
_ABOUT_IMAGES = "What the files hold before they are brought to the model's size."


def data_page(
    title: str,
    examples: Examples,
    roles: np.ndarray,
    copies: Sequence[Copies],
    findings: Sequence[Finding],
    facts: Mapping[str, Any],
    *,
    samples: bytes | None,
    samples_caption: str,
    thumbnails: Mapping[int, bytes],
    leaks: Sequence[Leak],
    left_out: LeftOut,
) -> str:
    """Returns HTML. facts: of `summarize`; samples: the contact sheet, a PNG, and a line about it;
    thumbnails: pictures by the number of their example; the rest as for `find`.
    """
    sections = [
        Section("Findings", _findings(findings)),
        Section("Classes and splits", _classes(facts), _ABOUT_CLASSES),
        Section("Images", _images(facts), _ABOUT_IMAGES),
    ]
    if samples is not None:
        body = paragraph(samples_caption) + picture(samples, "samples of each class")
        sections.insert(1, Section("Samples", Html(body)))
    if copies:
        body = _copies(examples, roles, copies, facts["duplicates"], thumbnails)
        sections.append(Section("Identical images", body))
    if leaks:
        body = _list(("group", "image", "label", "split"), group_rows(examples, roles, leaks))
        sections.append(Section("Groups in more than one split", body))
    if examples.bad:
        rows = unreadable_rows(examples)
        body = _list(("image", "label", "reason"), rows)
        sections.append(Section("Images that cannot be used", body))
    if left_out:
        rows = [
            (printable(path), why.replace("_", " "), printable(kind))
            for (why, kind), paths in left_out.items()
            for path in paths
        ]
        body = _list(("file", "why", "kind"), rows)
        sections.append(Section("Files that are no part of the data", body))
    return page(title, sections, paragraph(headline(facts), kind="verdict"))


def _findings(findings: Sequence[Finding]) -> Html:
    if not findings:
        return paragraph("Nothing found that would harm training, and nothing odd.")
    return join(
        note(
            "Harms training:" if finding.harm else "Worth knowing:",
            finding.what,
            finding.advice,
            finding.harm,
        )
        for finding in findings
    )


def _classes(facts: Mapping[str, Any]) -> Html:
    roles = list(facts["splits"])
    counts = facts["classes"]
    most = max((sum(count.values()) for count in counts.values()), default=0) or 1
    rows = [
        (name, *(count[role] for role in roles), bar(sum(count.values()) / most))
        for name, count in counts.items()
    ]
    return _list(("class", *roles, "together"), rows)


def _images(facts: Mapping[str, Any]) -> Html:
    def counted(what: str, counts: Mapping[str, int]) -> Html:
        return table((what, "images"), counts.items())

    sizes = [(f"{width}x{height}", n) for height, width, n in facts["sizes"]]
    parts = [row([counted("format", facts["formats"]), counted("colours", facts["modes"])])]
    if facts["shorter_side"]:
        spread = [
            (side, *facts[f"{side}_side"].values())
            for side in ("shorter", "longer")
            if facts[f"{side}_side"]
        ]
        parts.append(table(("side in pixels", "least", "median", "most"), spread))
    if len(sizes) > 1:
        parts.append(
            details(
                f"{len(sizes):,} sizes, width x height", table(("size", "images"), sizes[:1000])
            )
        )
    elif sizes:
        parts.append(paragraph(f"All are {sizes[0][0]} (width x height)."))
    if facts["mean"]:
        numbers = zip(("mean", "standard deviation"), (facts["mean"], facts["std"]), strict=True)
        channels = ("red", "green", "blue") if len(facts["mean"]) == 3 else ("all channels",)
        rows = [(name, *(f"{value:.4f}" for value in values)) for name, values in numbers]
        parts.append(table(("train, over 0..1", *channels), rows))
    return join(parts)


def _copies(
    examples: Examples,
    roles: np.ndarray,
    copies: Sequence[Copies],
    counts: Mapping[str, int],
    thumbnails: Mapping[int, bytes],
) -> Html:
    def one(number: int) -> Html:
        name = examples.name(number)
        label = examples.class_name(number)
        shown = thumbnails.get(number)
        image = picture(shown, name, _THUMBNAIL) if shown else Html("")
        return figure(image, name, f"{label}, {roles[number] or 'no split'}")

    pictured = [row(map(one, group.numbers[:MOST_COPIES])) for group in copies[:MOST_GROUPS]]
    listed = [columns[:4] for columns in duplicate_rows(examples, roles, copies)]
    shown = listed[:_MOST]
    what = f"All {len(listed):,}" if shown == listed else f"{_MOST:,} of {len(listed):,}"
    rest = details(what, table(("group", "image", "label", "split"), shown))
    return join([paragraph(copies_line(counts)), *pictured, rest])


def _list(header: Sequence[str], rows: Sequence[Sequence[object]]) -> Html:
    """A table; what is beyond its first rows is folded."""
    if len(rows) <= _SHOWN:
        return table(header, rows)
    what = f"{len(rows) - _SHOWN:,} more"
    if len(rows) > _MOST:  # the files beside the page have them all
        what += f", {_MOST - _SHOWN:,} of them here"
    rest = details(what, table(header, rows[_SHOWN:_MOST]))
    return join([table(header, rows[:_SHOWN]), rest])
