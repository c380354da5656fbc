"""Leaves known noise of C++ libraries out of stderr, which Python's logging cannot reach."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_lines(marks: tuple[bytes, ...]) -> Iterator[None]:
    """Within, lines written to file descriptor 2 that contain one of `marks` are dropped; all
    others, from any thread, pass at once.
    """
    original = os.dup(2)
    reader, writer = os.pipe()
    os.dup2(writer, 2)
    os.close(writer)

    def pump() -> None:
        while chunk := os.read(reader, 1 << 16):
            lines = chunk.splitlines(keepends=True)
            os.write(
                original, b"".join(line for line in lines if not any(m in line for m in marks))
            )
        os.close(reader)
        os.close(original)

    thread = threading.Thread(target=pump, name="stderr", daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.dup2(original, 2)  # the pipe's last writer goes, unless a child process has kept one
        thread.join(timeout=1)
