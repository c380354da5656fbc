"""Command lines to copy and paste, made from the one this process was started with."""

import re
import shlex
import sys

# Up to the last @ of a word: a password may hold a slash, or an @ that should have been quoted.
_PASSWORD = re.compile(r"(://[^:/@\s]*:)\S*@")
_NAMED_PASSWORD = re.compile(
    r"([?&;](?:\w*password|passwd|pwd|\w*token|\w*secret)=)[^&;\s'\"]+", re.I
)


def without_password(text: str) -> str:
    """A command or an address without the passwords that an address may hold."""
    return _NAMED_PASSWORD.sub(r"\1...", _PASSWORD.sub(r"\1...@", text))


def command(module: str | None = None, *, keep: str | tuple[str, ...] = "--", **flags: str) -> str:
    """The command line of this process as another: `python -m MODULE` with the flags that begin
    with `keep`, and others given or replaced by `flags`.

    module: None: what this process runs.
    """
    words = sys.argv[1:]
    kept: list[str] = []
    place = 0
    while place < len(words):
        name, equals, _ = words[place].partition("=")
        follows = not equals and place + 1 < len(words) and not words[place + 1].startswith("--")
        mine = words[place : place + 1 + follows]
        if name.startswith(keep) and name.removeprefix("--") not in flags:
            kept += mine
        place += len(mine)
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    own = ["-m", spec.name] if spec is not None else [sys.argv[0]]
    given = [word for name, value in flags.items() for word in (f"--{name}", value)]
    program = ["python", "-m", module] if module else [sys.executable, *own]
    return shlex.join([*program, *kept, *given])
