"""The pages that people read, and the code in them.

A fenced block of python runs in tests as it is printed, and so does one of bash that is marked. A
comment before a block says how:

    <!-- run -->               a bash block that runs (its commands write into an empty folder)
    <!-- file NAME -->         this block is the content of that file, for those that come after
    <!-- with runs/digits -->  a finished run of digits is there; `with photos/`: images by class
"""

import re
from typing import NamedTuple

from tests.processes import ROOT

PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    ROOT / "benchmarks/README.md",
    ROOT / "launch/README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]

_BLOCK = re.compile(
    r"(?:<!-- (?P<mark>[^>]*) -->\n)?^```(?P<language>\w+)\n(?P<code>.*?)^```", re.S | re.M
)


class Block(NamedTuple):
    mark: str
    language: str
    code: str


def name_of(page):
    return str(page.relative_to(ROOT))


def blocks(page, language):
    """The fenced blocks of a page in this language."""
    found = (
        Block(m["mark"] or "", m["language"], m["code"]) for m in _BLOCK.finditer(page.read_text())
    )
    return [block for block in found if block.language == language]


def command_lines(page):
    """Each command in the bash blocks of a page, as one line."""
    for block in blocks(page, "bash"):
        for line in block.code.replace("\\\n", " ").splitlines():
            if line.strip() and not line.startswith("#"):
                yield line
