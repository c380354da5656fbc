"""From an image file's bytes to pixels: the one place, for training, checking and serving.

A decoder takes a file's content and gives `Raw`: pixels as they are stored. `decode` makes them
uint8 RGB or grey. Whatever cannot be decoded raises ValueError with a reason that continues the
file's name: "is cut short".
"""

import io
import re
import struct
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxcnn.data.damage import check_content, check_size
from jaxcnn.errors import UserError


class Decoding(NamedTuple):
    """How the content of a file becomes the pixels a model sees; stands in `dataset.json`.

    image_size: pixels of the square images are fitted into, or None to keep their size.
    channels: 1 (grey), 3 (RGB), or None to keep the image's own.
    background: RGB, what transparent pixels lie on.
    window: (low, high), the values that become 0 and 255 in images of more than 8 bits; None: the
      range the file declares.
    crop_fraction: share of the resized shorter side that the centre crop keeps.
    """

    image_size: int | None = None
    channels: int | None = None
    background: tuple[int, int, int] = (255, 255, 255)
    window: tuple[float, float] | None = None
    crop_fraction: float = 1.0


class Raw(NamedTuple):
    """Pixels as a file stores them: [h, w, 1 grey, 3 RGB, 2 or 4 with alpha], of any integer or
    float type; low and high: the values the file declares for black and white.
    """

    pixels: np.ndarray
    low: float = 0
    high: float = 255


def decode(content: bytes | np.ndarray, how: Decoding, at_least: int = 0) -> np.ndarray:
    """An image file's content, or pixels, as uint8[h, w, channels], upright.

    at_least: pixels of the shorter side that are enough; a larger JPEG may then be decoded at 1/2,
      1/4 or 1/8 of its size, which is much faster. 0: the full size.
    Raises ValueError where the content is damaged or no image.
    """
    return to_pixels(decode_raw(content, at_least), how)


def decode_raw(content: bytes | np.ndarray, at_least: int = 0) -> Raw:
    """The first half of `decode`: pixels as they are stored."""
    if isinstance(content, np.ndarray):
        return _from_array(content)
    name = check_content(content)
    try:
        return _jpeg(content, at_least) if name == "jpeg" else DECODERS[name](content)
    except (ValueError, UserError):
        raise
    except Exception as error:  # the libraries' own kinds, of damage nobody foresaw
        raise ValueError(f"cannot be decoded ({_reason(error)})") from error


def to_pixels(raw: Raw, how: Decoding) -> np.ndarray:
    """The second half of `decode`: uint8[h, w, channels]."""
    image = _on_background(_to_uint8(raw, how.window), how.background)
    return image if how.channels is None else to_channels(image, how.channels)


def to_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """uint8[h, w, 1 or 3] -> uint8[h, w, channels]; grey is OpenCV's weighted mean."""
    if image.shape[-1] == channels:
        return image
    import cv2

    if channels == 3:
        return np.repeat(image, 3, axis=-1)
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]


def _from_array(pixels: np.ndarray) -> Raw:
    pixels = pixels[..., None] if pixels.ndim == 2 else pixels
    return _declared(pixels)


def _jpeg(content: bytes, at_least: int) -> Raw:
    # libjpeg-turbo as in OpenCV, with the same pixels; but it refuses the damage that OpenCV prints
    # to stderr and passes over, and was 1.2x as fast (500x375 pixels, 2 cores).
    height, width, colorspace = _jpeg_header(content)
    if colorspace in ("CMYK", "YCCK"):
        return _pillow(content)
    smaller: dict[str, int] = {}
    if at_least and min(height, width) >= 2 * at_least:
        smaller = {"min_height": at_least, "min_width": at_least, "min_factor": 2}
    kind = "GRAY" if colorspace.upper().startswith("GRAY") else "RGB"
    import simplejpeg

    try:
        pixels = simplejpeg.decode_jpeg(content, colorspace=kind, **smaller)
    except ValueError as error:
        raise ValueError(f"is damaged ({_reason(error)})") from error
    return Raw(_upright(pixels, content))


def _jpeg_header(content: bytes) -> tuple[int, int, str]:
    import simplejpeg

    try:
        height, width, colorspace, _ = simplejpeg.decode_jpeg_header(content)
    except ValueError as error:
        raise ValueError(f"is damaged ({_reason(error)})") from error
    check_size(width, height)
    return height, width, colorspace


def size_of(content: bytes | np.ndarray) -> tuple[int, int] | None:
    """(height, width) of a JPEG, upright, without decoding it; None for other formats."""
    if isinstance(content, np.ndarray) or check_content(content) != "jpeg":
        return None
    height, width, _ = _jpeg_header(content)
    return (width, height) if _orientation(content) > 4 else (height, width)


def _upright(pixels: np.ndarray, content: bytes) -> np.ndarray:
    """Turns a JPEG the way its EXIF orientation says the camera was held."""
    turn = _TURNS.get(_orientation(content))
    return pixels if turn is None else np.ascontiguousarray(turn(pixels))


def _orientation(content: bytes) -> int:
    if content.find(b"Exif\0\0", 0, 65536) < 0:
        return 1
    from PIL import Image

    try:
        return Image.open(io.BytesIO(content)).getexif().get(0x0112, 1)
    except Exception:  # Pillow raises many kinds; without a readable orientation there is none
        return 1


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


def _png(content: bytes) -> Raw:
    """Colour, grey, palette, alpha, 8 or 16 bits: OpenCV, which Pillow's 8 bits would cut."""
    width, height = struct.unpack_from(">II", content, 16)
    check_size(width, height)
    if b"tRNS" in content or b"eXIf" in content:  # a transparent colour; an orientation
        return _pillow(content)
    import cv2

    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError("cannot be decoded")
    return _from_opencv(pixels)


def _from_opencv(pixels: np.ndarray) -> Raw:
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[pixels.shape[-1]]
    return _declared(np.ascontiguousarray(pixels[..., order]))


def _declared(pixels: np.ndarray) -> Raw:
    """Pixels whose black and white are the ends of their integer type; floats declare none."""
    if pixels.dtype in (np.uint8, np.uint16):
        return Raw(pixels, 0, np.iinfo(pixels.dtype).max)
    return Raw(pixels, np.nan, np.nan)


def _pnm(content: bytes) -> Raw:
    """PGM, PPM and PBM; the binary ones must have exactly the bytes their header promises."""
    kind = content[1:2]
    numbers = 2 if kind == b"4" else 3
    header = re.match(rb"P\d" + rb"(?:\s|#[^\n]*\n)+(\d+)" * numbers + rb"\s", content)
    if kind in b"123":
        return _pillow(content)
    if header is None:
        raise ValueError("has a damaged header")
    width, height = int(header[1]), int(header[2])
    high = 1 if kind == b"4" else int(header[3])
    check_size(width, height)
    if not 0 < high < 65536:
        raise ValueError("has a damaged header")
    channels = 3 if kind == b"6" else 1
    row = -(-width // 8) if kind == b"4" else width * channels * (2 if high > 255 else 1)
    data = content[header.end() :]
    if len(data) != row * height:
        raise ValueError(
            f"has {len(data)} bytes of pixels where its header promises {row * height} (changed "
            "by a line-ending conversion?)"
        )
    if kind == b"4":  # bits, 1 for black, rows padded to whole bytes
        bits = np.unpackbits(np.frombuffer(data, np.uint8).reshape(height, row), axis=1)
        return Raw(255 * (1 - bits[:, :width, None]))
    pixels = np.frombuffer(data, np.uint8 if high < 256 else ">u2")
    return Raw(pixels.reshape(height, width, channels), 0, high)


def _pillow(content: bytes) -> Raw:
    """Everything else: GIF and TIFF (first frame), BMP, WebP, CMYK."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        image: Image.Image = Image.open(io.BytesIO(content))
    except Image.DecompressionBombError as error:
        raise ValueError(f"may be a decompression bomb ({error})") from error
    except UnidentifiedImageError:  # TIFFs of more than 8 bits a colour, for one
        import cv2

        pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_UNCHANGED)
        if pixels is None:
            raise ValueError("cannot be decoded") from None
        return _from_opencv(pixels)
    check_size(*image.size)
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        pixels = np.asarray(image)
        return _declared(pixels.astype(np.uint16) if "16" in image.mode else pixels)
    if image.mode in ("1", "L", "RGB"):
        target = "RGB" if image.mode == "RGB" else "L"
    else:
        target = "RGBA" if image.has_transparency_data else "RGB"
    pixels = np.asarray(image.convert(target))
    return Raw(pixels[..., None] if target == "L" else pixels)


def _dicom(content: bytes) -> Raw:
    from jaxcnn.data.dicom import read_dicom

    return Raw(*read_dicom(content))


DECODERS: dict[str, Callable[[bytes], Raw]] = {
    "png": _png,
    "pnm": _pnm,
    "bmp": _pillow,
    "gif": _pillow,
    "webp": _pillow,
    "tiff": _pillow,
    "dicom": _dicom,
}


def _to_uint8(raw: Raw, window: tuple[float, float] | None) -> np.ndarray:
    """Scales low..high to 0..255; alpha, which declares its range by its type, on its own."""
    if raw.pixels.dtype == np.uint8 and raw.high == 255:
        return raw.pixels
    low, high = window or (raw.low, raw.high)
    if raw.low > raw.high and window is not None:  # stored as a negative
        high, low = window
    if np.isnan(low):
        raise ValueError(
            f"has pixels of type {raw.pixels.dtype}, which declare no range: give "
            "--config.data.window='(LOW, HIGH)'"
        )
    limits = np.array([low]), np.array([high])
    if raw.pixels.shape[-1] in (2, 4):
        colours = raw.pixels.shape[-1] - 1
        limits = np.array([low] * colours + [0]), np.array([high] * colours + [raw.high])
    scaled = (raw.pixels - limits[0]) * (255 / (limits[1] - limits[0]))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _on_background(image: np.ndarray, background: tuple[int, ...]) -> np.ndarray:
    """uint8[h, w, 2 or 4] -> uint8[h, w, 1 or 3], transparent pixels on `background`."""
    colours = image.shape[-1]
    if colours in (1, 3):
        return image
    colour, alpha = image[..., :-1], image[..., -1:].astype(np.float32) / 255
    if colours == 2 and len(set(background)) == 1:
        background = background[:1]
    mixed = colour * alpha + np.array(background, np.float32) * (1 - alpha)
    return np.rint(mixed).astype(np.uint8)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:150] or type(error).__name__
