"""DICOM, the format of medical images: one frame, scaled by its bit depth or a window."""

import io

import numpy as np

from jaxcnn.errors import UserError


def read_dicom(content: bytes) -> tuple[np.ndarray, float, float]:
    """Pixels [h, w, 1 or 3] in the units of the modality (Hounsfield for CT), and the values that
    the declared bit depth gives for black and white.

    Raises ValueError for volumes and damage, UserError where pydicom is missing.
    """
    try:
        import pydicom
        from pydicom.pixels import apply_rescale
    except ModuleNotFoundError as error:
        raise UserError("DICOM images take pydicom: pip install 'jaxcnn[medical]'") from error
    data = pydicom.dcmread(io.BytesIO(content))
    if int(data.get("NumberOfFrames", None) or 1) > 1:
        raise ValueError(f"is a volume or film of {data.NumberOfFrames} frames; expected one image")
    pixels = data.pixel_array
    if data.SamplesPerPixel == 3:
        if data.PhotometricInterpretation != "RGB":
            from pydicom.pixels import convert_color_space

            pixels = convert_color_space(pixels, data.PhotometricInterpretation, "RGB")
        return pixels, 0, 2**data.BitsStored - 1
    signed = data.PixelRepresentation == 1
    depth = data.BitsStored
    ends = (-(2 ** (depth - 1)), 2 ** (depth - 1) - 1) if signed else (0, 2**depth - 1)
    low, high = (float(apply_rescale(np.array(end), data)) for end in ends)
    pixels = np.asarray(apply_rescale(pixels, data))[..., None]
    if data.PhotometricInterpretation == "MONOCHROME1":  # its lowest value is white
        return pixels, high, low
    return pixels, low, high
