"""Files in a data set's folder that no split uses."""

from collections.abc import Collection
from pathlib import Path

from jaxcnn.data.folder import files_below
from jaxcnn.errors import printable


def ignored_files(root: Path, used: Collection[str]) -> list[str]:
    """Paths relative to `root` of the files below it that are not in `used` (names as `printable`
    gives them), in order; hidden ones are not mentioned.
    """
    return [path for path in map(printable, files_below(root, root)) if path not in used]
