"""From an image file's bytes to pixels: the one place, for training, checking and serving.

A decoder takes a file's content and gives `Raw`: pixels as they are stored. `decode` makes them
uint8 RGB or grey. Whatever cannot be decoded raises Damaged, a ValueError whose text continues the
file's name: "is cut short".
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple

import numpy as np

from jaxcnn.data.damage import Damaged, check_content, check_size, reason_of
from jaxcnn.data.dicom import read_dicom
from jaxcnn.data.jpeg import Jpeg, open_jpeg, read_jpeg
from jaxcnn.data.png import read_png
from jaxcnn.data.pnm import read_pnm
from jaxcnn.data.tiff import read_tiff
from jaxcnn.errors import UserError


class Decoding(NamedTuple):
    """How the content of a file becomes the pixels a model sees; stands in `dataset.json`.

    image_size: pixels of the square images are fitted into, or None to keep their size.
    channels: 1 (grey), 3 (RGB), or None to keep the image's own.
    background: RGB, what transparent pixels lie on.
    window: of images with more than 8 bits: (low, high), the values that become 0 and 255; "file":
      each file's own window, where it has one (DICOM); None: the range the file declares.
    crop_fraction: share of the resized shorter side that the centre crop keeps.
    shrink: images larger than so many times the resized size are made that size first, see
      `jaxcnn.data.shrink`; None: they are not.
    """

    image_size: int | None = None
    channels: int | None = None
    background: tuple[int, int, int] = (255, 255, 255)
    window: tuple[float, float] | Literal["file"] | None = None
    crop_fraction: float = 1.0
    shrink: int | None = None


# A last band with a greater share of values between clear and opaque is hardly alpha.
ODD_ALPHA = 0.5


class Raw(NamedTuple):
    """Pixels as a file stores them: [h, w, 1 grey, 3 RGB, 2 or 4 with alpha], of any integer or
    float type; low and high: the values the file declares for black and white.

    own: gives (pixels, low, high) as the file wants to be seen, where it says so (DICOM's VOI).
    """

    pixels: np.ndarray
    low: float = 0
    high: float = 255
    own: Callable[[], tuple[np.ndarray, float, float]] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(height, width)."""
        return self.pixels.shape[0], self.pixels.shape[1]


def decode(
    content: bytes | np.ndarray, decoding: Decoding, at_least: int = 0, reuse: bool = False
) -> np.ndarray:
    """An image file's content, or pixels, as uint8[h, w, channels], upright.

    at_least: pixels of the shorter side that are enough; a JPEG of twice that or more may be
      decoded at a smaller scale, which is much faster. 0: the full size.
    reuse: the result may lie in memory that the thread's next call overwrites, which is faster;
      `jaxcnn.data.jpeg.own_copy` copies it where needed.
    Raises Damaged, a ValueError, where the content is damaged or no image.
    """
    return to_pixels(read_image(open_image(content), at_least, reuse), decoding)


def open_image(content: bytes | np.ndarray) -> Jpeg | Raw:
    """The first third of `decode`: the content checked. A JPEG's pixels wait until it is known how
    large they must be, those of other formats are there.
    """
    if isinstance(content, np.ndarray):
        return _declared(content[..., None] if content.ndim == 2 else content)
    name = check_content(content)
    with _in_words():
        return open_jpeg(content) if name == "jpeg" else DECODERS[name](content)


def read_image(image: Jpeg | Raw, at_least: int = 0, reuse: bool = False) -> Raw:
    """The second third of `decode`: pixels as they are stored."""
    if isinstance(image, Raw):
        return image
    with _in_words():
        return Raw(read_jpeg(image, at_least, reuse))


@contextmanager
def _in_words() -> Iterator[None]:
    """Turns the errors of the libraries, which are of any kind, into Damaged."""
    try:
        yield
    except (Damaged, UserError):
        raise
    except Exception as error:
        raise Damaged(f"cannot be decoded ({reason_of(error)})") from error


def to_pixels(raw: Raw, decoding: Decoding) -> np.ndarray:
    """The last third of `decode`: uint8[h, w, channels]."""
    image = _on_background(_to_uint8(raw, decoding.window), decoding.background)
    return image if decoding.channels is None else to_channels(image, decoding.channels)


def to_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """uint8[h, w, 1 or 3] -> uint8[h, w, channels]; grey is OpenCV's weighted mean."""
    if image.shape[-1] == channels:
        return image
    import cv2

    if channels == 3:
        return np.repeat(image, 3, axis=-1)
    return cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]


def _declared(pixels: np.ndarray) -> Raw:
    """Pixels whose black and white are the ends of their integer type; floats declare none."""
    if pixels.dtype in (np.uint8, np.uint16):
        return Raw(pixels, 0, np.iinfo(pixels.dtype).max)
    return Raw(pixels, np.nan, np.nan)


def _heic(content: bytes) -> Raw:
    try:
        import pillow_heif
    except ModuleNotFoundError as error:
        raise UserError("HEIC images take pillow-heif: pip install 'jaxcnn[heif]'") from error
    pillow_heif.register_heif_opener()
    return _pillow(content)


def _avif(content: bytes) -> Raw:
    from PIL import features

    if not features.check("avif"):
        raise UserError("AVIF images take a Pillow built with libavif: pip install -U pillow")
    return _pillow(content)


def _pillow(content: bytes) -> Raw:
    """Everything else, of 8 bits a colour: GIF (first frame), BMP, WebP, HEIC, most TIFFs."""
    from PIL import Image, ImageOps

    try:
        image: Image.Image = Image.open(io.BytesIO(content))
    except Image.DecompressionBombError as error:
        raise Damaged(f"may be a decompression bomb ({error})") from error
    except Image.UnidentifiedImageError as error:
        raise Damaged("cannot be decoded (a kind that Pillow does not read)") from error
    check_size(*image.size)
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode in ("1", "L"):
        target = "L"
    elif image.mode in ("LA", "La"):
        target = "LA"
    else:
        target = "RGBA" if image.has_transparency_data else "RGB"
    pixels = np.asarray(image.convert(target))
    return Raw(pixels[..., None] if target == "L" else pixels)


DECODERS: dict[str, Callable[[bytes], Raw]] = {
    "png": lambda content: _declared(read_png(content)),
    "pnm": lambda content: Raw(*read_pnm(content)),
    "bmp": _pillow,
    "gif": _pillow,
    "webp": _pillow,
    "heic": _heic,
    "avif": _avif,
    "tiff": lambda content: Raw(*read_tiff(content, lambda content: _pillow(content).pixels)),
    "dicom": lambda content: Raw(*read_dicom(content)),
}


def _to_uint8(raw: Raw, window: tuple[float, float] | Literal["file"] | None) -> np.ndarray:
    """Scales low..high to 0..255; alpha, which declares its range by its type, on its own."""
    pixels, low, high, own = raw
    if pixels.dtype == np.uint8:
        if (low, high) == (0, 255):
            return pixels
        window = None  # it is for images of more than 8 bits
    if window == "file":
        pixels, low, high = own() if own is not None else raw[:3]
        window = None
    if window is not None:
        low, high = window[::-1] if low > high else window  # stored as a negative
    if np.isnan(low):
        raise Damaged(
            f"has pixels of type {pixels.dtype}, which declare no range: give "
            "--config.data.window='(LOW, HIGH)'"
        )
    limits = np.array([low]), np.array([high])
    if pixels.shape[-1] in (2, 4):
        colours = pixels.shape[-1] - 1
        limits = np.array([low] * colours + [0]), np.array([high] * colours + [_opaque(raw)])
    scaled = (pixels - limits[0]) * (255 / (limits[1] - limits[0]))
    # NaN stands for "no value", for example outside of a map: black.
    return np.nan_to_num(np.clip(np.rint(scaled), 0, 255)).astype(np.uint8)


def partly_clear(pixels: np.ndarray) -> float:
    """Share of the values of the last band that are neither the least nor the most there may be: of
    alpha hardly any, of a fourth band of light nearly all.
    """
    band = pixels[..., -1]
    most = np.iinfo(band.dtype).max if band.dtype.kind in "iu" else 1
    return float(((band > 0) & (band < most)).mean())


def _opaque(raw: Raw) -> float:
    if np.isnan(raw.high):
        return 1 if raw.pixels.dtype.kind == "f" else np.iinfo(raw.pixels.dtype).max
    return max(raw.low, raw.high)


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
