"""Images without labels, however they are sorted into folders."""

from pathlib import Path

import numpy as np

from jaxcnn.data.folder import Files, files_source, images_below
from jaxcnn.data.source import Source
from jaxcnn.errors import UserError


def load_unlabelled(folder: Path) -> Source:
    """All images below a folder, of one class without a name; UserError where there are none."""
    if not folder.is_dir():
        raise UserError(
            f"{folder}: {'is a file; give a folder' if folder.exists() else 'no such folder'}"
        )
    paths = images_below(folder, folder)
    if not paths:
        raise UserError(f"{folder}: has no images of a kind jaxcnn reads")
    return files_source(Files(folder, paths, np.zeros(len(paths), np.int32)), ("",))
