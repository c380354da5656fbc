"""What users read: the exception for what they can mend, its words, and commands to copy."""

import difflib
import re
import shlex
import sys
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in a config, a path or the data: one line saying what, where and what to do.

    Commands print it as `error: ...` and end with exit code 2; a notebook shows that line.

    >>> import jaxcnn
    >>> config = jaxcnn.default_config()
    >>> config.optimizer.name = "adan"
    >>> jaxcnn.resolve(config)
    Traceback (most recent call last):
    jaxcnn.errors.UserError: ...
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback."""
        return [f"error: {self}"]


class DiskError(UserError):
    """What a disk refuses: more space, or another disk, mends that, and no other config does."""


def is_end(kind: type[BaseException] | None) -> bool:
    """Whether work ends without an error: it is done, or was stopped (Ctrl-C, SIGTERM, a closed
    pipe). What there is of its results is then kept.

    kind: of the exception; None where there is none.
    """
    return kind is None or not issubclass(kind, Exception) or issubclass(kind, BrokenPipeError)


def printable(text: str) -> str:
    """Returns text as one line for any terminal: line breaks and broken UTF-8 become escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def first_few(names: Iterable[object], count: int = 3) -> str:
    """Returns the first few of many names: "a, b, c and 5 more"."""
    words = list(map(str, names))
    more = f" and {len(words) - count:,} more" if len(words) > count else ""
    return ", ".join(words[:count]) + more


def nearest(name: str, known: Iterable[str]) -> str:
    """Returns ' (did you mean x?)' with the known name closest to `name`; '' if none is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""


# Up to the last @ of a word: a password may hold a slash, or an @ that should have been quoted.
_PASSWORD = re.compile(r"(://[^:/@\s]*:)\S*@")
_NAMED_PASSWORD = re.compile(
    r"([?&;](?:\w*password|passwd|pwd|\w*token|\w*secret)=)[^&;\s'\"]+", re.I
)


def without_password(text: str) -> str:
    """Returns a command or an address without the passwords in it."""
    return _NAMED_PASSWORD.sub(r"\1...", _PASSWORD.sub(r"\1...@", text))


def this_program() -> list[str]:
    """Returns the words that start this process again, from any folder, without its arguments."""
    name, *verb = sys.argv[0].split(" ")
    if name == "jaxcnn" and verb:  # as `jaxcnn.cli.start` names it
        return [sys.executable, "-m", "jaxcnn", *verb]
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return [sys.executable, *(["-m", spec.name] if spec is not None else [sys.argv[0]])]


def command(verb: str | None = None, *, keep: str | tuple[str, ...] = "--", **flags: str) -> str:
    """Returns the command line `jaxcnn VERB`, with flags of this process.

    verb: None: that of this process. keep: what the flags begin with that are taken over.
    flags: others, which replace those of the same name.
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
    added = [word for name, value in flags.items() for word in (f"--{name}", value)]
    program = ["jaxcnn", verb] if verb else this_program()
    return shlex.join([*program, *kept, *added])
