"""One self-contained HTML page: no scripts, no fonts and no pictures from elsewhere.

    page("Title", [Section("Counts", table(("class", "images"), [("cat", 3)]))])

Functions give `Html`; any other text they are given is escaped.
"""

import base64
import html
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Html(str):
    """Text that is HTML already."""

    __slots__ = ()


class Section(NamedTuple):
    """A part of a page under a heading."""

    title: str
    body: Html


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


def paragraph(*parts: object) -> Html:
    """A paragraph of the parts, one after another."""
    return Html(f"<p>{join(parts)}</p>")


def table(header: Sequence[object], rows: Iterable[Sequence[object]]) -> Html:
    """A table; numbers stand on the right."""
    head = "".join(f"<th>{text(cell)}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    inside = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return Html(f'<div class="wide"><table>{inside}</table></div>')


def bar(share: float) -> Html:
    """A bar for a table's cell. share: its length, 0..1 of the cell."""
    return Html(f'<div class="bar" style="width:{100 * share:.1f}%"></div>')


def details(summary: object, body: Html) -> Html:
    """A part that is folded until someone asks for it."""
    return Html(f"<details><summary>{text(summary)}</summary>{body}</details>")


def note(label: str, what: object, advice: object, serious: bool) -> Html:
    """A thing to know, marked by `label`, and what to do about it."""
    kind = "serious" if serious else "note"
    return Html(
        f'<div class="card {kind}"><b>{text(label)}</b> {text(what)}'
        f'<div class="advice">{text(advice)}</div></div>'
    )


def picture(content: bytes, description: str, width: int | None = None) -> Html:
    """A PNG or JPEG inside the page. description: for those who cannot see it.

    width: pixels on the page; small pictures are enlarged without being smoothed.
    """
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    size = f' width="{width}"' if width else ""
    data = base64.b64encode(content).decode()
    alt = text(description)
    return Html(f'<img alt="{alt}" title="{alt}"{size} src="data:image/{kind};base64,{data}">')


def figure(image: Html, *caption: object) -> Html:
    """A picture with a line or more below it."""
    return Html(f"<figure>{image}<figcaption>{join(caption, '<br>')}</figcaption></figure>")


def row(parts: Iterable[Html]) -> Html:
    """Parts side by side, as many as fit."""
    return Html(f'<div class="row">{join(parts)}</div>')


def page(title: str, sections: Sequence[Section], lead: object = "") -> str:
    """The whole file. lead: what stands before the first section."""
    body = "".join(f"<section><h2>{text(s.title)}</h2>{s.body}</section>\n" for s in sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{text(title)}</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>{text(title)}</h1>{text(lead)}\n{body}</body></html>\n"
    )


def _cell(content: object) -> str:
    number = isinstance(content, int | float)
    shown = f"{content:,.4g}" if isinstance(content, float) else content
    return f'<td class="number">{text(shown)}</td>' if number else f"<td>{text(content)}</td>"


_STYLE = """
:root { color-scheme: light dark; --ink: #1d2125; --soft: #5b646d; --paper: #ffffff;
  --line: #d9dee3; --tint: #f4f6f8; --blue: #3c6fb4; --red: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --soft: #a3adb6; --paper: #15181b;
  --line: #363c42; --tint: #1e2327; --blue: #7fabe6; --red: #ff8a80; } }
body { margin: 2rem auto; max-width: 62rem; padding: 0 1rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin-bottom: .3rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
p { margin: .4rem 0; }
table { border-collapse: collapse; }
th, td { padding: .2rem .9rem .2rem 0; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere; }
th { color: var(--soft); font-weight: 600; white-space: nowrap; }
td:first-child { min-width: 7rem; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
.wide { overflow-x: auto; margin: .8rem 0; }
.row .wide { margin: 0 1.2rem 0 0; }
.bar { background: var(--blue); height: .8rem; margin-top: .35rem; min-width: 1px;
  border-radius: 2px; }
td:has(> .bar) { width: 14rem; min-width: 6rem; }
.card { background: var(--tint); border-left: 4px solid var(--blue); border-radius: 4px;
  margin: .5rem 0; padding: .5rem .9rem; overflow-wrap: anywhere; }
.card b { color: var(--blue); margin-right: .3rem; }
.serious { border-color: var(--red); }
.serious b { color: var(--red); }
.advice, figcaption { color: var(--soft); }
details { margin: .5rem 0; }
summary { cursor: pointer; color: var(--blue); }
img { max-width: 100%; background: #fff; border-radius: 3px; vertical-align: top; }
img[width] { image-rendering: pixelated; }
.row { display: flex; flex-wrap: wrap; gap: 1.2rem; margin: .8rem 0; }
.row:has(figure) { padding-bottom: .8rem; border-bottom: 1px solid var(--line); }
figure { margin: 0; max-width: 14rem; }
figcaption { font-size: .85rem; line-height: 1.35; overflow-wrap: anywhere; }
code { background: var(--tint); padding: .05rem .3rem; border-radius: 3px; }
"""
