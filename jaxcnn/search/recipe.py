"""A config written as an experiment file."""

import shlex
import textwrap
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from jaxcnn.config.durations import DURATIONS
from jaxcnn.config.keys import default_config, flatten

_WIDTH = 100


def recipe_text(config: ConfigDict, title: str, command: str, origin: str, search: str) -> str:
    """A Python file whose get_config() resolves to `config`, a resolved one.

    The rest is for its docstring. title: a sentence. command: what trains it. origin: what
    found it, before the command line `search` that did; "" where there was none.
    """
    known = flatten(default_config())
    known |= {f"{name}_{of[0]}": of[1] for name, of in DURATIONS.items() if of is not None}
    lines = [*_wrap(title), "", *_command(command), "", origin]
    if search:
        lines += ["", *_command(search)]
    docstring = _docstring("\n".join(lines) + "\n")
    settings = [
        f"    config.{key} = {_literal(value, 4, len(f'    config.{key} = '))}"
        for key, value in flatten(config).items()
        if value is not None and (key not in known or known[key] != value)
    ]
    return "\n".join(
        [
            docstring,
            "",
            "from jaxcnn.config.keys import default_config",
            "",
            "",
            "def get_config():",
            "    config = default_config()",
            *settings,
            "    return config",
            "",
        ]
    )


def _docstring(text: str) -> str:
    """A docstring of whole lines; where it has backslashes, a raw one if that can be."""
    long = [line for line in text.splitlines() if len(line) > _WIDTH and len(line.split()) > 1]
    remarks = ["E501"] if long else []
    prefix = "r" if "\\" in text else ""
    if '"""' in text:
        remarks += ["D301"] if prefix else []
        text = text.replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
        prefix = ""
    return f'{prefix}"""{text}"""' + (f"  # noqa: {', '.join(remarks)}" if remarks else "")


def _wrap(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False)


def _command(line: str) -> list[str]:
    """A command line over several lines, as a shell takes it."""
    lines = ["   "]
    for word in map(shlex.quote, shlex.split(line)):
        if lines[-1].strip() and len(lines[-1]) + 1 + len(word) > _WIDTH - 2:  # " \\" comes after
            lines.append("       ")
        lines[-1] += f" {word}"
    return [*(part + " \\" for part in lines[:-1]), lines[-1]]


def _literal(value: Any, indent: int, used: int) -> str:
    """A value as source code, as `ruff format` writes it.

    indent: of the line it is on. used: characters of that line before it.
    """
    if isinstance(value, str):
        plain = '"' not in value and "'" not in value and value.isprintable()
        return f'"{value}"' if plain and "\\" not in value else repr(value)
    if not isinstance(value, tuple | dict):
        return repr(value)
    flat = _join(value, [_literal(one, 0, -(10**6)) for one in _parts(value)])
    if used + len(flat) <= _WIDTH or not value:
        return flat
    inner = indent + 4
    keys = [f"{_literal(key, 0, 0)}: " for key in value] if isinstance(value, dict) else None
    lines = []
    for place, one in enumerate(_parts(value)):
        key = keys[place] if keys else ""
        lines.append(" " * inner + key + _literal(one, inner, inner + len(key) + 1) + ",")
    opening, closing = "{}" if isinstance(value, dict) else "()"
    return "\n".join([opening, *lines, " " * indent + closing])


def _parts(value: tuple[Any, ...] | dict[str, Any]) -> Sequence[Any]:
    return list(value.values()) if isinstance(value, dict) else value


def _join(value: tuple[Any, ...] | dict[str, Any], parts: Sequence[str]) -> str:
    if isinstance(value, dict):
        pairs = zip(value, parts, strict=True)
        return "{" + ", ".join(f"{_literal(key, 0, 0)}: {part}" for key, part in pairs) + "}"
    return "(" + ", ".join(parts) + ("," if len(parts) == 1 else "") + ")"
