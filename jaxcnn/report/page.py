"""One self-contained HTML page: no scripts, no fonts and no pictures from elsewhere.

    page("Title", [Section("Counts", table(("class", "images"), [("cat", 3)]))])

Functions give `Html`; any other text they are given is escaped.
"""

import base64
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from jaxcnn.report.page_style import STYLE

# With more sections than this a page begins with a list of them.
_FEW_SECTIONS = 3
# A table with more columns may be wider than the screen: it can be scrolled with the keyboard.
_FEW_COLUMNS = 5


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


class Number(Html):
    """HTML that stands on the right of a table's cell, as numbers do."""

    __slots__ = ()


class Section(NamedTuple):
    """A part of a page under a heading. intro: what there is to see, and how to read it."""

    title: str
    body: Html
    intro: str = ""


def text(content: object) -> Html:
    """Escaped; numbers with thousands separated; Html as it is. Characters that cannot be written
    (parts of file names that are no UTF-8) become escapes.
    """
    if isinstance(content, Html):
        return content
    shown = f"{content:,}" if isinstance(content, int) else str(content)
    return Html(html.escape(shown.encode("utf-8", "backslashreplace").decode("utf-8")))


def join(parts: Iterable[object], between: str = "") -> Html:
    """Parts one after another."""
    return Html(between.join(text(part) for part in parts))


def paragraph(*parts: object, kind: str = "") -> Html:
    """A paragraph of the parts, one after another. kind: "verdict", "intro" or ""."""
    return Html(f"<p{_class(kind)}>{join(parts)}</p>")


def heading(title: object, level: int = 3) -> Html:
    """The heading of a part of a section (3), or of a part of that (4)."""
    return Html(f"<h{level}>{text(title)}</h{level}>")


def table(header: Sequence[object], rows: Iterable[Sequence[object]], caption: str = "") -> Html:
    """A table; numbers stand on the right, and words in the first column name their row.

    caption: what the table holds, where the heading above does not say it.
    """
    rows = [list(row) for row in rows]
    right = [bool(rows) and all(map(_is_number, column)) for column in zip(*rows, strict=True)]
    right += [False] * (len(header) - len(right))
    head = "".join(
        f'<th scope="col"{_class("number" * on_right)}>{text(cell)}</th>'
        for cell, on_right in zip(header, right, strict=True)
    )
    body = "".join(f"<tr>{''.join(_cells(row))}</tr>" for row in rows)
    told = f"<caption>{text(caption)}</caption>" if caption else ""
    inside = f"{told}<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    label = text(caption or "table")
    reach = f' tabindex="0" role="region" aria-label="{label}"'
    return Html(
        f'<div class="wide"{reach if len(header) > _FEW_COLUMNS else ""}>'
        f"<table>{inside}</table></div>"
    )


def bar(share: float) -> Html:
    """A bar for a table's cell. share: its length, 0..1 of the cell."""
    return Html(f'<div class="bar" style="width:{100 * share:.1f}%"></div>')


def details(summary: object, body: Html) -> Html:
    """A part that is folded until someone asks for it."""
    return Html(f"<details><summary>{text(summary)}</summary>{body}</details>")


def note(label: str, what: object, advice: object, serious: bool) -> Html:
    """A thing to know, marked by `label`, and what to do about it."""
    kind = "serious" if serious else "note"
    advised = f'<div class="advice">{text(advice)}</div>' if advice else ""
    return Html(
        f'<div role="note" class="card {kind}"><b>{text(label)}</b> {text(what)}{advised}</div>'
    )


def facts(values: Mapping[str, object]) -> Html:
    """Names and what they are, side by side."""
    pairs = (f"<div><dt>{text(k)}</dt><dd>{text(v)}</dd></div>" for k, v in values.items())
    return Html(f"<dl>{''.join(pairs)}</dl>")


def command(line: str) -> Html:
    """A command to copy."""
    return Html(f"<pre><code>{text(line)}</code></pre>")


def link(address: str, words: object) -> Html:
    """A link to a file beside the page."""
    return Html(f'<a href="{html.escape(address)}">{text(words)}</a>')


def picture(content: bytes, description: str, width: int | None = None) -> Html:
    """A PNG or JPEG inside the page. description: for those who cannot see it.

    width: pixels on the page; a small PNG is enlarged without being smoothed.
    """
    size = f' width="{width}"' if width else ""
    pixels = _class("pixels" if width and _is_png(content) else "")
    return Html(f'<img alt="{text(description)}"{pixels}{size} src="{_data(content)}">')


def chart(light: bytes, dark: bytes, description: str, width: int, height: int) -> Html:
    """A PNG in two versions, of which the page shows the one that suits its colours; paper has
    the light one.

    width, height: pixels on the page.
    """
    return Html(
        '<figure class="chart"><picture>'
        f'<source media="screen and (prefers-color-scheme: dark)" srcset="{_data(dark)}">'
        f'<img alt="{text(description)}" width="{width}" height="{height}" src="{_data(light)}">'
        "</picture></figure>"
    )


def figure(image: Html, *caption: object, width: int | None = None) -> Html:
    """A picture, or several side by side, with a line or more below. width: pixels of it all."""
    shown = f'<div class="pictures">{image}</div>'
    wide = f' style="width:{width}px"' if width else ""
    return Html(f"<figure{wide}>{shown}<figcaption>{join(caption, '<br>')}</figcaption></figure>")


def marked(right: bool, words: object) -> Html:
    """Words with a sign before them that says, not by colour alone, whether they are right."""
    kind, sign = ("right", "✓") if right else ("wrong", "✗")
    spoken = f'<i aria-hidden="true">{sign}</i> <span class="unseen">{kind}: </span>'
    return Html(f'<span class="{kind}">{spoken}{text(words)}</span>')


def unbroken(words: object) -> Html:
    """Words on one line, in a table that can be scrolled."""
    return Html(f'<span class="unbroken">{text(words)}</span>')


def row(parts: Iterable[Html]) -> Html:
    """Parts side by side, as many as fit."""
    return Html(f'<div class="row">{join(parts)}</div>')


def page(title: str, sections: Sequence[Section], lead: object = "", foot: object = "") -> str:
    """The whole file. lead: what stands before the first section; foot: after the last."""
    names = _anchors([section.title for section in sections])
    body = "".join(
        f'<section aria-labelledby="{name}"><h2 id="{name}">{text(section.title)}</h2>'
        f"{paragraph(section.intro, kind='intro') if section.intro else ''}{section.body}"
        "</section>\n"
        for name, section in zip(names, sections, strict=True)
    )
    links = "".join(
        f'<li><a href="#{name}">{text(section.title)}</a></li>'
        for name, section in zip(names, sections, strict=True)
    )
    listed = len(sections) > _FEW_SECTIONS
    nav = f'<nav aria-label="Contents"><ul>{links}</ul></nav>\n' if listed else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{STYLE}</style></head>\n"
        f'<body{_class("listed" * listed)}><a class="skip" href="#content">Skip to the content</a>'
        f"<header><h1>{text(title)}</h1>{text(lead)}</header>\n{nav}"
        f'<main id="content" tabindex="-1">\n{body}</main>\n'
        f"{f'<footer>{text(foot)}</footer>' if foot else ''}</body></html>\n"
    )


def _anchors(titles: Sequence[str]) -> list[str]:
    """A name for each title that an address can carry: words of it, each name once."""
    names: dict[str, None] = {"content": None}  # the page's own
    for title in titles:
        words = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        names[words if words not in names else f"{words}-{len(names)}"] = None
    return list(names)[1:]


def _class(name: str) -> str:
    return f' class="{name}"' if name else ""


def _is_png(content: bytes) -> bool:
    return content.startswith(b"\x89PNG")


def _data(content: bytes) -> str:
    kind = "png" if _is_png(content) else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def _is_number(cell: object) -> bool:
    return isinstance(cell, int | float | Number)


def _cells(row: Sequence[object]) -> Iterable[str]:
    for place, cell in enumerate(row):
        shown = text(f"{cell:,.4g}" if isinstance(cell, float) else cell)
        if _is_number(cell):
            yield f'<td class="number">{shown}</td>'
        elif place == 0 and len(row) > 1 and not isinstance(cell, Html):
            yield f'<th scope="row">{shown}</th>'
        else:
            yield f"<td>{shown}</td>"
