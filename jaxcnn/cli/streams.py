"""Standard output and error as they are found: closed, of a pipe that nobody reads, of a terminal
that lacks letters.
"""

import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO, cast

from jaxcnn.errors import UserError


def prepare_streams() -> None:
    """Makes the standard streams usable, whatever they are.

    One that is closed goes nowhere: else the next file that is opened would take its number, and
    get what libraries print. A letter that a terminal lacks is written as an escape. What cannot be
    written to standard error is dropped: messages that nobody reads end no training.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:  # closed; the lowest number that is free is taken
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            binary = io.FileIO(number, "r" if name == "stdin" else "w", closefd=False)
            setattr(sys, name, io.TextIOWrapper(cast(Any, binary), "utf-8", write_through=True))
    for stream in (sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper):
            continue
        # The C locale's "surrogateescape" writes names of files back, and no other letter.
        if stream.errors == "strict" or "utf" not in stream.encoding.lower():
            stream.reconfigure(errors="backslashreplace")
    if not isinstance(sys.stderr, _Stream):
        sys.stdout = cast(TextIO, _Stream(sys.stdout, drops=False))
        sys.stderr = cast(TextIO, _Stream(sys.stderr, drops=True))


@contextmanager
def checked_output() -> Iterator[None]:
    """Within, what standard output refuses ends the process: where nobody reads any more, quietly
    and with 141, as SIGPIPE would; else with one line and 2.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except OSError as error:
        if error is not getattr(sys.stdout, "error", None):
            raise
        # Python would complain at its end about what it still holds.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            sys.exit(141)
        reason = f"standard output: cannot be written ({error.strerror})"
        raise UserError(reason) from error


class _Stream:
    """A stream that keeps the error of what it could not write, and drops that or raises it."""

    def __init__(self, stream: TextIO, drops: bool):
        self._stream, self._drops = stream, drops
        self.error: OSError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with self._kept():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._kept():
            self._stream.flush()

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = error
            if not self._drops:
                raise
            with suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
