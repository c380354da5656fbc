"""One self-contained HTML page: no scripts, no fonts and no pictures from elsewhere.

    page("Title", [Section("Counts", table(("class", "images"), [("cat", 3)]))])

Functions return `Html`; other text among their arguments is escaped.
"""

import base64
import html
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

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


class Note(NamedTuple):
    """Something to know before the numbers are believed, and what to do about it."""

    what: str
    advice: str = ""
    serious: bool = False


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
    title = f"<caption>{text(caption)}</caption>" if caption else ""
    inside = f"{title}<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
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


def summary(verdict: str, answers: Mapping[str, object], notes: Iterable[Note]) -> Html:
    """The part of a page before its sections: a sentence, short answers, and notes."""
    return join(
        [
            # A percent sign stays with its number.
            paragraph(verdict.replace(" %", "\u00a0%"), kind="verdict"),
            facts(answers) if answers else "",
            *(note("Mind:", *one) for one in notes),
        ]
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


def chart(
    light: bytes, dark: bytes, description: str, width: int, height: int, legend: str = ""
) -> Html:
    """A PNG in two versions, of which the page shows the one that suits its colours; paper has
    the light one.

    width, height: pixels on the page. legend: a line below it, or "".
    """
    below = f"<figcaption>{text(legend)}</figcaption>" if legend else ""
    return Html(
        '<figure class="chart"><picture>'
        f'<source media="screen and (prefers-color-scheme: dark)" srcset="{_data(dark)}">'
        f'<img alt="{text(description)}" width="{width}" height="{height}" src="{_data(light)}">'
        f"</picture>{below}</figure>"
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
    """The whole file; sections without a body are left out.

    lead: what stands before the first section; foot: after the last.
    """
    sections = [section for section in sections if section.body]
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


# How pages look: on a screen of any width, light or dark, with a keyboard, and on paper. Colours
# are those of the charts' themes (`jaxcnn.report.style`); text has a contrast of 4.5 or more.
STYLE = """
:root { color-scheme: light dark; --ink: #1d2125; --soft: #5b646d; --paper: #ffffff;
  --line: #d9dee3; --tint: #f4f6f8; --blue: #00639c; --red: #b3261e; --green: #007a55;
  --wrong: #b54700; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e4e7ea; --soft: #a3adb6;
  --paper: #15181b; --line: #363c42; --tint: #1e2327; --blue: #7fbdf0; --red: #ff8a80;
  --green: #3ecf9f; --wrong: #f0a545; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 1rem; }
body { margin: 0 auto; max-width: 62rem; padding: 2rem 1rem 4rem; background: var(--paper);
  color: var(--ink); font: 16px/1.55 system-ui, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; line-height: 1.3; margin: 2.6rem 0 .4rem; padding-top: .7rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.4rem 0 .4rem; }
h4 { font-size: .95rem; font-weight: 400; margin: 1.1rem 0 .4rem; overflow-wrap: anywhere; }
p { margin: .4rem 0; max-width: 46rem; overflow-wrap: anywhere; }
a { color: var(--blue); }
:focus-visible { outline: 3px solid var(--blue); outline-offset: 2px; border-radius: 2px; }
main:focus { outline: none; }
.skip { position: absolute; left: -999rem; background: var(--paper); padding: .5rem 1rem; }
.skip:focus { left: 1rem; top: 1rem; z-index: 1; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%);
  white-space: nowrap; }
.verdict { font-size: 1.15rem; line-height: 1.5; margin: .6rem 0 1rem; }
.intro { color: var(--soft); margin-bottom: .8rem; }
nav { margin: 1.2rem 0 0; font-size: .9rem; }
nav ul { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; list-style: none; margin: 0;
  padding: 0; }
nav a { text-decoration: none; display: inline-block; padding: .1rem 0; }
nav a:hover { text-decoration: underline; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .5rem 1.4rem;
  margin: .8rem 0; }
dt { color: var(--soft); font-size: .85rem; }
dd { margin: 0; overflow-wrap: anywhere; }
table { border-collapse: collapse; }
caption { text-align: left; color: var(--soft); font-size: .9rem; padding-bottom: .3rem; }
th, td { padding: .25rem 1.1rem .25rem 0; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: top; overflow-wrap: anywhere; }
thead th { color: var(--soft); font-weight: 600; font-size: .9rem; white-space: nowrap;
  vertical-align: bottom; }
tbody th { font-weight: 400; min-width: 7rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.between { color: var(--soft); font-size: .85em; }
.unbroken { white-space: nowrap; }
.wide { overflow-x: auto; margin: .8rem 0; }
.row .wide { margin: 0 1.2rem 0 0; }
.bar { background: var(--blue); height: .8rem; margin-top: .35rem; min-width: 1px;
  border-radius: 2px; print-color-adjust: exact; -webkit-print-color-adjust: exact; }
td:has(> .bar) { width: 14rem; min-width: 6rem; }
.card { background: var(--tint); border-left: 4px solid var(--blue); border-radius: 4px;
  margin: .6rem 0; padding: .6rem 1rem; max-width: 48rem; overflow-wrap: anywhere; }
.card b { color: var(--blue); margin-right: .3rem; }
.serious { border-color: var(--red); }
.serious b { color: var(--red); }
.advice, figcaption { color: var(--soft); }
details { margin: .6rem 0; }
summary { cursor: pointer; color: var(--blue); padding: .15rem 0; }
pre { background: var(--tint); border-radius: 4px; padding: .7rem 1rem; white-space: pre-wrap;
  overflow-wrap: anywhere; font-size: .9rem; margin: .6rem 0; }
code { background: var(--tint); padding: .05rem .3rem; border-radius: 3px; }
pre code { padding: 0; }
img { max-width: 100%; border-radius: 3px; vertical-align: top; }
.pixels { image-rendering: pixelated; }
.chart { overflow-x: auto; margin: .8rem 0; max-width: none; }
.chart img { height: auto; min-width: min(30rem, 160vw); border-radius: 0; }
.row { display: flex; flex-wrap: wrap; gap: 1.2rem; margin: .8rem 0; }
.row:has(figure) { padding-bottom: .8rem; }
.row + .row { border-top: 1px solid var(--line); padding-top: .9rem; }
figure { margin: 0; }
.row figure { max-width: 14rem; }
.row figure[style] { max-width: 100%; }
.pictures { display: flex; gap: .25rem; align-items: flex-start; width: max-content;
  max-width: 100%; }
.pictures img { min-width: 0; height: auto; }
figcaption { font-size: .85rem; line-height: 1.4; overflow-wrap: anywhere; margin-top: .25rem; }
figcaption .name { font-size: .75rem; }
.right, .wrong { color: var(--ink); }
.right i, .wrong i { font-style: normal; font-weight: 700; color: var(--green); }
.wrong i { color: var(--wrong); }
.pictures:has(+ figcaption .right) { outline: 2px solid var(--green); outline-offset: 1px; }
.pictures:has(+ figcaption .wrong) { outline: 2px dashed var(--wrong); outline-offset: 1px; }
footer { margin-top: 3rem; color: var(--soft); font-size: .85rem; }
@media screen and (min-width: 84rem) {
  body.listed { max-width: 80rem; display: grid; column-gap: 3rem;
    grid-template-columns: 13rem minmax(0, 1fr); }
  .listed > * { grid-column: 2; }
  .listed > nav { grid-column: 1; grid-row: 1 / span 3; position: sticky; top: 2rem;
    align-self: start; margin: .4rem 0 0; }
  .listed > nav ul { flex-direction: column; }
}
@media (max-width: 40rem) {
  body { padding-top: 1.2rem; }
  th, td { padding-right: .7rem; }
  .row { gap: .9rem; }
}
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
@media print {
  :root { color-scheme: light; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, .skip { display: none; }
  h2, h3, h4, caption, .intro { break-after: avoid; }
  tr, figure, .card, .intro { break-inside: avoid; }
  .row:has(figure) { display: block; orphans: 1; widows: 1; }
  .row figure { display: inline-block; vertical-align: top; margin: 0 .8rem .8rem 0; }
  .wide, .chart { overflow: visible; }
  .row .pictures:has(+ figcaption) { outline-offset: -2px; }
  .chart img { min-width: 0; max-height: 20cm; width: auto; }
}
"""
