"""What MkDocs does besides: pages made from the code, and links that hold here and in the
repository.

Pages link to files as they lie in the repository. On the site a link to a page of docs/ or of PAGES
leads to that page, one to an image brings the image along, and any other becomes plain text.
"""

import importlib
import inspect
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import griffe
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent

# Pages that are files outside docs/, by their place on the site.
PAGES = {
    "index.md": "README.md",
    "benchmarks.md": "benchmarks/README.md",
    "contributing.md": "CONTRIBUTING.md",
    "changelog.md": "CHANGELOG.md",
    "guides/elsewhere.md": "launch/README.md",
}
IMAGES = ("benchmarks/growth.png",)

_LINK = re.compile(r'(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<to>[^)\s]+)\)|src="(?P<src>[^"]+)"')


def on_files(files: Any, config: Any) -> Any:
    """Adds the pages and images that lie outside docs/."""
    for place, path in PAGES.items():
        files.append(File.generated(config, place, content=(ROOT / path).read_text()))
    for path in IMAGES:
        files.append(File.generated(config, path, abs_src_path=str(ROOT / path)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    place = page.file.src_uri
    text = _linked(markdown, place, PAGES.get(place, f"docs/{place}"))
    for mark, made in _MADE.items():
        if mark in text:
            text = text.replace(mark, made())
    return text


def _linked(text: str, place: str, path: str) -> str:
    """A page's Markdown with links for the site. place: there; path: in the repository."""
    places = {source: place for place, source in PAGES.items()} | {one: one for one in IMAGES}

    def link(match: re.Match[str]) -> str:
        to, mark, anchor = (match["to"] or match["src"]).partition("#")
        if not to or "://" in to or to.startswith("mailto:"):
            return match[0]
        source = posixpath.normpath(posixpath.join(posixpath.dirname(path), to))
        target = places.get(source)
        if target is None and source.startswith("docs/"):
            target = source.removeprefix("docs/")
        if match["src"]:  # HTML, which MkDocs leaves alone: seen from the page's own folder
            folder = place.removesuffix(".md") if place != "index.md" else "."
            return f'src="{posixpath.relpath(target or source, folder)}"'
        if target is None:
            return match["text"]
        near = posixpath.relpath(target, posixpath.dirname(place) or ".")
        return f"{match['image']}[{match['text']}]({near}{mark}{anchor})"

    parts = re.split(r"(^```.*?^```)", text, flags=re.S | re.M)  # not in fenced code
    return "".join(part if n % 2 else _LINK.sub(link, part) for n, part in enumerate(parts))


def keys_table() -> str:
    """The keys of a config by part, with defaults and notes, and what names choose."""
    from jaxcnn.config.choices import CHOICES
    from jaxcnn.config.durations import DURATIONS
    from jaxcnn.config.keys import default_config, flatten
    from jaxcnn.config.table import FREE_ON_RESUME, KEYS

    defaults = flatten(default_config())
    defaults |= {f"{name}_{of[0]}": of[1] for name, of in DURATIONS.items() if of is not None}
    parts = {key.rpartition(".")[0] for key in defaults}
    lines = []
    for part in sorted(parts):
        lines += [f"## {part or 'The run'}", "", "| key | default | meaning |", "|---|---|---|"]
        for key, value in defaults.items():
            if key.rpartition(".")[0] == part:
                note = KEYS[key].note + " *May change.*" * key.startswith(FREE_ON_RESUME)
                lines.append(f"| `{key}` | `{value!r}` | {_cell(note)} |")
        lines.append("")
        for choice in (one for one in CHOICES.values() if one.part == part):
            lines += [f"What `{choice.key}` chooses takes keywords of its own:", ""]
            lines += [f"| `{choice.key}` | keywords, as `{part}.KEYWORD` |", "|---|---|"]
            for name in choice.registry():
                known = ", ".join(f"`{word}`" for word in choice.keywords(name))
                lines.append(f"| `{name}` | {known} |")
            lines.append("")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.strip().replace("|", "\\|")


def api(module: str) -> str:
    """Directives of mkdocstrings for the names of a module, each read where it is defined."""
    face, lines = importlib.import_module(module), []
    for name in sorted(face.__all__, key=lambda name: (name.lower(), name)):
        if inspect.ismodule(value := getattr(face, name)) or name.startswith("__"):
            continue
        home = getattr(value, "__module__", None) or module  # a table is read from the face
        lines += [f"::: {home}.{name}", "    options:"]
        lines += [f"      heading: {module}.{name}", f"      toc_label: {name}", ""]
    return "\n".join(lines)


_MADE: dict[str, Callable[[], str]] = {
    "<!-- table of keys -->": keys_table,
    "<!-- API of jaxcnn -->": lambda: api("jaxcnn"),
    "<!-- API of jaxcnn.report -->": lambda: api("jaxcnn.report"),
}


class Docstrings(griffe.Extension):
    """Our docstrings as Markdown: what they say of a parameter is an item of a list, and examples
    (lines from `>>>` on) are code.
    """

    def on_instance(self, *, obj: griffe.Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = "\n".join(_as_markdown(obj.docstring.value.splitlines()))


def _as_markdown(lines: list[str]) -> Iterator[str]:
    item, example = False, False
    for line in lines:
        if line.startswith(">>>") and not example:
            example = True
            yield from ("", "```python")
        if example and not line.strip():
            example = False
            yield "```"
        field = None if example else re.match(r"(\w+(?:, \w+)*): (?=\S)", line)
        if field:
            if not item:
                yield ""
            item = True
            line = f"- **{field[1]}**: {line[field.end() :]}"
        elif item and re.match(r"[A-Z`>]", line):  # a sentence of its own, not the item's next line
            item = False
            yield ""
        yield line
    if example:
        yield "```"
