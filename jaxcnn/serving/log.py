"""One JSON line a request, on stdout: who asked what, how it ended, and nothing of the image."""

import json
import sys
from typing import Any


def write_line(told: dict[str, Any]) -> None:
    """Text of a client is escaped, so that a line stays a line."""
    try:
        sys.stdout.write(json.dumps(told, separators=(",", ":")) + "\n")
        sys.stdout.flush()
    except (OSError, ValueError):  # nobody reads any more: no reason to answer nobody
        pass
