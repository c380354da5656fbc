"""A folder of results, written whole or not at all."""

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxcnn.errors import UserError
from jaxcnn.files.paths import as_path, check_bucket, in_bucket, remove, write


def check_writable(folder: Path, flag: str) -> None:
    """UserError, before long work, where results cannot be written to `folder` as `flag` says."""
    if in_bucket(folder):
        check_bucket(folder, f"--{flag}")
        return
    at = next((path for path in (folder, *folder.absolute().parents) if path.exists()), folder)
    if not at.is_dir():
        raise UserError(f"--{flag}={folder}: {at} is a file; give a folder")
    if not os.access(at, os.W_OK | os.X_OK):
        raise UserError(f"--{flag}={folder}: cannot write there; give another --{flag}")


def write_files(folder: Path, files: Mapping[str, bytes | None], flag: str) -> None:
    """Writes all `files`, by name, into `folder`; those of the same names are replaced when all
    are on the disk; in a bucket, one after the other. None: no such file, also not one of before.
    UserError if the disk refuses.
    """
    try:
        if in_bucket(folder):
            for name, content in files.items():
                remove(folder / name) if content is None else write(folder / name, content)
            return
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".unfinished-", dir=folder) as temporary:
            for name, content in files.items():
                if content is not None:
                    Path(temporary, name).write_bytes(content)
            for name, content in files.items():
                if content is None:
                    (folder / name).unlink(missing_ok=True)
                else:
                    Path(temporary, name).replace(folder / name)
    except OSError as error:
        raise UserError(f"--{flag}={folder}: cannot be written ({error.strerror})") from error


def json_file(given: str | None, name: str, flag: str) -> Path | None:
    """The file that a flag asks for with `given`, a .json file or a folder for a file of the given
    name; None where nothing is asked for. UserError, before long work, where it cannot be written.
    """
    if given is None:
        return None
    path = as_path(given)
    file = path if path.suffix == ".json" else path / name
    check_writable(file.parent, flag)
    if file.is_dir():
        raise UserError(f"--{flag}={given}: {file} is a folder; give a file")
    return file


def write_json_file(file: Path, content: dict[str, Any], flag: str) -> None:
    """Writes the file whole or not at all; UserError if the disk refuses."""
    write_files(file.parent, {file.name: json.dumps(content, indent=2).encode() + b"\n"}, flag)
