"""Entries of a cache on disk: complete or absent, the ones used longest ago removed first."""

import hashlib
import json
import logging
import math
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.data.decode import Decoding
from jaxcnn.data.resize import resize_rule
from jaxcnn.data.source import Bad, Source

logger = logging.getLogger(__name__)

_UNFINISHED = "unfinished-"
# After so many seconds without a change nobody can still be writing another machine's entry.
_ABANDONED = 24 * 3600


def locate(
    source: Source, how: Decoding, kind: str, cache_dir: str | None
) -> tuple[Path, Path, dict[str, Any]]:
    """(the cache's folder, the entry's folder, what its what.json says).

    cache_dir: None: ~/.cache/jaxcnn/data.
    """
    root = Path(cache_dir or "~/.cache/jaxcnn/data").expanduser()
    what = {"kind": kind, "source": source.identity} | resize_rule(how)
    text = json.dumps(what | {"stamp": source.stamp})
    return root, root / hashlib.sha256(text.encode()).hexdigest()[:24], what


def sweep(root: Path, limit: float) -> None:
    """Removes what killed processes left, and entries used longest ago until `limit` bytes hold."""
    entries = []
    for path in root.iterdir():
        try:
            if path.name.startswith(_UNFINISHED):
                if _is_abandoned(path):
                    shutil.rmtree(path, ignore_errors=True)
            elif (path / "what.json").is_file():
                size = sum(file.stat().st_size for file in path.iterdir())
                entries.append((path.stat().st_mtime, size, path))
        except OSError:  # another process removes it at the same time
            continue
    total = sum(size for _, size, _ in entries)
    for _, size, path in sorted(entries):
        if total <= limit:
            return
        logger.info("data cache: removing %s (%.1f GB)", path, size / 1e9)
        shutil.rmtree(path, ignore_errors=True)
        total -= size


def _is_abandoned(unfinished: Path) -> bool:
    """Whether the process that began an entry is gone: here at once, elsewhere after a day."""
    host, _, process = unfinished.name.removeprefix(_UNFINISHED).rpartition("-")[0].rpartition("-")
    if host == platform.node() and process.isdecimal():
        return not Path(f"/proc/{process}").exists() and Path("/proc/self").exists()
    return time.time() - unfinished.stat().st_mtime > _ABANDONED


class NewEntry(tempfile.TemporaryDirectory):
    """A folder for an entry of so many bytes in the making, gone at the end if it was not renamed.

    What was used longest ago goes first, to stay below `limit` bytes.
    """

    def __init__(self, root: Path, limit: float = math.inf, size: int = 0) -> None:
        root.mkdir(parents=True, exist_ok=True)
        sweep(root, limit - size)
        prefix = f"{_UNFINISHED}{platform.node()}-{os.getpid()}-"
        super().__init__(prefix=prefix, dir=root, ignore_cleanup_errors=True)

    def __enter__(self) -> Path:
        return Path(super().__enter__())


def finish(
    temporary: Path, folder: Path, label: np.ndarray, bad: tuple[Bad, ...], what: dict[str, Any]
) -> None:
    np.save(temporary / "label.npy", label)
    (temporary / "bad.json").write_text(json.dumps(bad))
    (temporary / "what.json").write_text(json.dumps(what, indent=2))
    temporary.chmod(0o755)
    try:
        temporary.rename(folder)
    except OSError:
        if not folder.is_dir():  # else another process was first, with the same content
            raise


def intact(folder: Path, read: Callable[[], Any]) -> Any:
    """What `read` finds in an entry; None where there is none or it is damaged."""
    if not folder.is_dir():
        return None
    try:
        found = read()
        os.utime(folder)  # `sweep` removes what was used longest ago
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        logger.warning("%s is damaged (%s): decoding again", folder, error)
        shutil.rmtree(folder, ignore_errors=True)
        return None
    return found
