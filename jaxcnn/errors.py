"""The one exception for what the user can mend."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """A mistake in a config, a path or the data: one line saying what, where and what to do.

    Commands print it as `error: ...` and end with exit code 2; a notebook shows that line.
    """

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback."""
        return [f"error: {self}"]


class DiskError(UserError):
    """What a disk refuses: more space, or another disk, mends that, and no other config does."""


def is_end(kind: type[BaseException] | None) -> bool:
    """Whether work ends because it is done or somebody has enough of it (Ctrl-C, SIGTERM, a closed
    pipe), and not because of an error: what there is of its results is then kept.
    """
    return kind is None or not issubclass(kind, Exception) or issubclass(kind, BrokenPipeError)


def printable(text: str) -> str:
    """One line that any terminal can show: line breaks and broken UTF-8 become escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def nearest(name: str, known: Iterable[str]) -> str:
    """' (did you mean x?)' for the known name closest to `name`, or ''."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f" (did you mean {close[0]}?)" if close else ""
