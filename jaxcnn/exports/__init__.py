"""File formats a trained classifier is written in, and how each is read.

Each has `write(path, model)`, which raises `Unsupported` where the format has no way to say what
the model does, and `load(path, model)`, which gives what the file's own runtime says: a function
uint8[B, H, W, C] -> float32[B, K].
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcnn.exports import keras, onnx, safetensors, stablehlo
from jaxcnn.exports.model import Model


class Format(NamedTuple):
    """file: its name in the folder of exports."""

    file: str
    write: Callable[[Path, Model], None]
    load: Callable[[Path, Model], Callable[[np.ndarray], np.ndarray]]


FORMATS: dict[str, Format] = {
    "onnx": Format("model.onnx", onnx.write, onnx.load),
    "stablehlo": Format("model.stablehlo", stablehlo.write, stablehlo.load),
    "safetensors": Format("model.safetensors", safetensors.write, safetensors.load),
    "keras": Format("model.keras", keras.write, keras.load),
    "h5": Format("model.h5", keras.write, keras.load),
    "saved_model": Format("saved_model", keras.write_saved_model, keras.load_saved_model),
}
