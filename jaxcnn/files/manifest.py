"""What proves a folder whole: a line a file, "<sha256>  <bytes>  <path>"."""

import hashlib
from pathlib import Path

from jaxcnn.files.paths import files


def manifest(folder: Path) -> str:
    """Of all files in a folder as they are now."""
    found = files(folder)
    return "".join(f"{_sha256(file)}  {size}  {name}\n" for name, (file, size) in found.items())


def whats_wrong(folder: Path, manifest: Path) -> str | None:
    """What is not as the manifest says, or None."""
    found = files(folder)
    promises = [line.split("  ", 2) for line in manifest.read_text().splitlines()]
    for digest, size, name in promises:
        if name not in found:
            return f"{name} is missing"
        file, actual = found[name]
        if actual != int(size):
            return f"{name} has {actual} bytes of {size}"
        if _sha256(file) != digest:
            return f"{name} has changed"
    return None if promises else "its manifest is empty"


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
