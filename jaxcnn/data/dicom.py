"""DICOM, the format of medical images: one frame, scaled by its bit depth or a window."""

import io

import numpy as np

from jaxcnn.data.damage import Damaged, check_size
from jaxcnn.errors import UserError

# The tags (FFFC,FFFC) and (FFFA,FFFA), little and big endian.
_AFTER_PIXELS = (b"\xfc\xff\xfc\xff", b"\xff\xfc\xff\xfc", b"\xfa\xff\xfa\xff", b"\xff\xfa\xff\xfa")


def read_dicom(content: bytes) -> tuple[np.ndarray, float, float]:
    """Pixels [h, w, 1 or 3] in the units of the modality (Hounsfield for CT), and the values that
    the declared bit depth gives for black and white.

    Raises Damaged for volumes and damage, UserError where pydicom is missing.
    """
    try:
        import pydicom
        from pydicom.pixels import apply_color_lut, apply_rescale
    except ModuleNotFoundError as error:
        raise UserError("DICOM images take pydicom: pip install 'jaxcnn[medical]'") from error
    data = pydicom.dcmread(io.BytesIO(content))
    if int(data.get("NumberOfFrames", None) or 1) > 1:
        raise Damaged(f"is a volume or film of {data.NumberOfFrames} frames; expected one image")
    if "PixelData" not in data:
        raise Damaged("is a DICOM file without pixels")
    check_size(data.Columns, data.Rows)
    _check_end(content, data.get_item("PixelData"))
    pixels = data.pixel_array  # pydicom 3 makes YCbCr RGB
    colours, depth = data.PhotometricInterpretation, data.BitsStored
    if colours == "PALETTE COLOR":
        pixels = apply_color_lut(pixels, data)
        return pixels[..., :3], 0, np.iinfo(pixels.dtype).max
    if data.SamplesPerPixel == 3:
        return pixels, 0, 2**depth - 1
    if not colours.startswith("MONOCHROME"):
        raise Damaged(f"has colours of a kind jaxcnn does not read ({colours})")
    signed = data.PixelRepresentation == 1
    ends = (-(2 ** (depth - 1)), 2 ** (depth - 1) - 1) if signed else (0, 2**depth - 1)
    low, high = sorted(float(apply_rescale(np.array(end), data)) for end in ends)
    pixels = np.asarray(apply_rescale(pixels, data))[..., None]
    if colours == "MONOCHROME1":  # its lowest value is white
        return pixels, high, low
    return pixels, low, high


def _check_end(content: bytes, element) -> None:
    """After the pixels comes nothing but padding or a signature, or else bytes were added."""
    tell, length = getattr(element, "value_tell", None), getattr(element, "length", None)
    if tell is None or length is None or length == 0xFFFFFFFF:  # compressed: in pieces
        return
    if tell + length > len(content):
        raise Damaged("is cut short")
    rest = content[tell + length :]
    if rest and rest[:4] not in _AFTER_PIXELS:
        raise Damaged(
            f"has {len(rest)} bytes too many after its pixels (changed by a line-ending "
            "conversion?)"
        )
