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


def this_program() -> list[str]:
    """The words that start this process again, but for its arguments, wherever its user stands."""
    name, *verb = sys.argv[0].split(" ")
    if name == "jaxcnn" and verb:  # as `jaxcnn.cli.start` names it
        return [sys.executable, "-m", "jaxcnn", *verb]
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return [sys.executable, *(["-m", spec.name] if spec is not None else [sys.argv[0]])]


def command(verb: str | None = None, *, keep: str | tuple[str, ...] = "--", **flags: str) -> str:
    """The command line of this process as another: `jaxcnn VERB` with the flags that begin with
    `keep`, and others given or replaced by `flags`.

    verb: None: what this process runs.
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
    given = [word for name, value in flags.items() for word in (f"--{name}", value)]
    program = ["jaxcnn", verb] if verb else this_program()
    return shlex.join([*program, *kept, *given])
