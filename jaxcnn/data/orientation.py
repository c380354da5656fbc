"""How the camera was held: EXIF's orientation of an image."""

import io
from collections.abc import Callable

import numpy as np

from jaxcnn.data.damage import jpeg_segments

# EXIF orientation -> what makes the image upright (JEITA CP-3451, tag 0x0112).
_TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda image: np.rot90(image, 2),
    4: np.flipud,
    5: lambda image: image.swapaxes(0, 1),
    6: lambda image: np.rot90(image, -1),
    7: lambda image: np.rot90(image, 2).swapaxes(0, 1),
    8: np.rot90,
}


def upright(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """[h, w, c] turned the way its orientation says; 5 to 8 exchange height and width."""
    turn = _TURNS.get(orientation)
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))


def jpeg_orientation(content: bytes) -> int:
    """1 (upright) to 8."""
    if not any(
        marker == 0xE1 and content.startswith(b"Exif\0\0", place + 2)
        for marker, place in jpeg_segments(content)
    ):
        return 1
    from PIL import Image

    try:
        return _known(Image.open(io.BytesIO(content)).getexif())
    except Exception:  # Pillow raises many kinds; without a readable orientation there is none
        return 1


def exif_orientation(block: bytes) -> int:
    """1 to 8, of the content of a PNG's eXIf chunk."""
    from PIL import Image

    exif = Image.Exif()
    try:
        exif.load(block)
        return _known(exif)
    except Exception:
        return 1


def _known(exif) -> int:
    orientation = exif.get(0x0112)
    return orientation if isinstance(orientation, int) and orientation in _TURNS else 1
