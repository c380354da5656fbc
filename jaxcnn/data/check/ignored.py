"""Files in a data set's folder that no split uses."""

import os
from collections.abc import Collection
from pathlib import Path

from jaxcnn.errors import printable


def ignored_files(root: Path, used: Collection[str]) -> list[str]:
    """Paths relative to `root` of the files below it that are not in `used` (names as `printable`
    gives them), in order; hidden ones are not mentioned.
    """
    ignored = []
    for at, folders, names in os.walk(root, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        below = Path(at).relative_to(root)
        paths = [printable((below / name).as_posix()) for name in names if not name.startswith(".")]
        ignored += [path for path in paths if path not in used]
    return sorted(ignored)
