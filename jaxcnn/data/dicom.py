"""DICOM, the format of medical images: one frame, scaled by its bit depth or a window."""

import io
import zlib
from collections.abc import Callable

import numpy as np

from jaxcnn.data.damage import MAX_PIXELS, Damaged, check_rest, check_size
from jaxcnn.errors import UserError

# The tags (FFFC,FFFC) and (FFFA,FFFA), little and big endian.
_AFTER_PIXELS = (b"\xfc\xff\xfc\xff", b"\xff\xfc\xff\xfc", b"\xfa\xff\xfa\xff", b"\xff\xfa\xff\xfa")
# The transfer syntax whose data set is compressed as a whole, and where its file's meta data begin.
_DEFLATED, _META = "1.2.840.10008.1.2.1.99", 132

# What reads pixels [h, w, 1 or 3], and the values of black and white.
Stored = tuple[np.ndarray, float, float]


def read_dicom(
    content: bytes,
) -> tuple[np.ndarray, float, float, Callable[[], Stored] | None]:
    """Pixels [h, w, 1 or 3] in the units of the modality (Hounsfield for CT), the values that the
    declared bit depth gives for black and white, and what gives the same as the file wants them
    seen (its VOI LUT or window), where it says so.

    Raises Damaged for volumes and damage, UserError where pydicom is missing.
    """
    try:
        import pydicom
        from pydicom.pixels import apply_color_lut, apply_rescale
    except ModuleNotFoundError as error:
        raise UserError("DICOM images take pydicom: pip install 'jaxcnn[medical]'") from error
    _check_inflated(content)
    data = pydicom.dcmread(io.BytesIO(content))
    if int(data.get("NumberOfFrames", None) or 1) > 1:
        raise Damaged(f"is a volume or film of {data.NumberOfFrames} frames; expected one image")
    if "PixelData" not in data:
        raise Damaged("is a DICOM file without pixels")
    check_size(data.Columns, data.Rows)
    if data.file_meta.get("TransferSyntaxUID") != _DEFLATED:
        _check_end(content, data.get_item("PixelData"))
    pixels = data.pixel_array  # pydicom 3 makes YCbCr RGB
    colours, depth = data.PhotometricInterpretation, data.BitsStored
    if colours == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, data)
        return pixels[..., :3], 0, np.iinfo(pixels.dtype).max, None
    if data.SamplesPerPixel == 3:
        return pixels, 0, 2**depth - 1, None
    if not colours.startswith("MONOCHROME"):
        raise Damaged(f"has colours of a kind jaxcnn does not read ({colours})")
    signed = data.PixelRepresentation == 1
    ends = (-(2 ** (depth - 1)), 2 ** (depth - 1) - 1) if signed else (0, 2**depth - 1)
    low, high = sorted(float(apply_rescale(np.array(end), data)) for end in ends)
    pixels = np.asarray(apply_rescale(pixels, data))[..., None]
    negative = colours == "MONOCHROME1"  # its lowest value is white
    own = _own_view(data, pixels, negative)
    return (pixels, high, low, own) if negative else (pixels, low, high, own)


def _own_view(data, pixels: np.ndarray, negative: bool) -> Callable[[], Stored] | None:
    """What gives pixels as the file wants them seen: by the first of its tables or windows (DICOM
    PS3.3, C.11.2); None where it has neither, or one that makes no sense.
    """
    if data.get("VOILUTSequence"):
        descriptor = data.VOILUTSequence[0].LUTDescriptor

        def by_table() -> Stored:
            from pydicom.pixels import apply_voi

            return _turned((apply_voi(pixels, data), 0, 2 ** descriptor[2] - 1), negative)

        return by_table
    try:
        center, width = (
            float(value if isinstance(value, str) or not hasattr(value, "__len__") else value[0])
            for value in (data.WindowCenter, data.WindowWidth)
        )
    except (AttributeError, IndexError, TypeError, ValueError):  # missing, empty, or no numbers
        return None
    function = str(data.get("VOILUTFunction") or "LINEAR").upper()
    if function == "LINEAR":
        center, width = center - 0.5, width - 1
    if not 0 < width < np.inf or not np.isfinite(center):
        return None

    def by_window() -> Stored:
        if function == "SIGMOID":
            return _turned((1 / (1 + np.exp(-4 * (pixels - center) / width)), 0, 1), negative)
        return _turned((pixels, center - width / 2, center + width / 2), negative)

    return by_window


def _turned(stored: Stored, negative: bool) -> Stored:
    pixels, low, high = stored
    return (pixels, high, low) if negative else stored


def _check_inflated(content: bytes) -> None:
    """Refuses a deflated file that would fill the memory."""
    length = int.from_bytes(content[_META + 8 : _META + 12], "little")
    start = _META + 12 + length
    if _DEFLATED.encode() in content[_META:start]:
        inflate, rest, size = zlib.decompressobj(-zlib.MAX_WBITS), content[start:], 0
        while rest and not inflate.eof:
            size += len(inflate.decompress(rest, 2**20))
            rest = inflate.unconsumed_tail
            if size > 2 * MAX_PIXELS:
                raise Damaged("is deflated, and may be a decompression bomb")
        if not inflate.eof:
            raise Damaged("is cut short")


def _check_end(content: bytes, element) -> None:
    """The pixels are whole, and no bytes were added within them."""
    tell, length = getattr(element, "value_tell", None), getattr(element, "length", None)
    if tell is None or length is None or length == 0xFFFFFFFF:  # compressed: in pieces
        return
    if tell + length > len(content):
        raise Damaged("is cut short")
    if content[tell + length :][:4] not in _AFTER_PIXELS:  # padding, a signature
        check_rest(content, tell + length)
