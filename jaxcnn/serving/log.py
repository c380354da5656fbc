"""One JSON line a request, on stdout: who asked what, how it ended, and nothing of the image."""

import json
import sys
import threading
from typing import Any, TextIO

# Lines that wait for a reader who is slow, or gone: more are left out, and counted.
_MOST = 10_000
_SECONDS = 0.1


class Log:
    """Writes in a thread, all lines of a moment at once: whoever does not read the server's stdout
    keeps no request waiting.
    """

    def __init__(self, out: TextIO | None = None):
        self._out = out or sys.stdout
        self._lines: list[str] = []
        self._left_out = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="log", daemon=True)
        self._thread.start()

    def write(self, details: dict[str, Any]) -> None:
        """Text of a client is escaped, so that a line stays a line."""
        if len(self._lines) < _MOST:
            self._lines.append(json.dumps(details, separators=(",", ":")) + "\n")
        else:
            self._left_out += 1

    def close(self, seconds: float = 2.0) -> None:
        """Writes what waits, if somebody reads it."""
        self._closed.set()
        self._thread.join(seconds)

    def _work(self) -> None:
        while not self._closed.wait(_SECONDS):
            self._flush()
        self._flush()

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        left_out, self._left_out = self._left_out, 0
        if left_out:
            lines.append(json.dumps({"left_out": left_out}) + "\n")
        if not lines:
            return
        try:
            self._out.write("".join(lines))
            self._out.flush()
        except (OSError, ValueError):  # nobody reads any more: no reason to answer nobody
            pass
