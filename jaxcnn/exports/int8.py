"""model_int8.onnx: weights and activations in 8 bits (Jacob et al. 2018, arXiv:1712.05877).

It is no faithful copy, so its accuracy is measured instead of its difference. The ranges of
activations are those that the images given for it show.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

FILE = "model_int8.onnx"

# Images that ranges are taken from at once.
_AT_ONCE = 32


def write_int8(path: Path, exported: Path, image: np.ndarray, batch: int | None) -> None:
    """Writes the model in an ONNX file in 8 bits, with the same input, output and metadata.

    image: uint8[N, H, W, C] of the training data. batch: the file's; None for any.
    """
    import onnx
    from onnxruntime.quantization import (
        CalibrationDataReader,
        QuantFormat,
        QuantType,
        quant_pre_process,
        quantize_static,
    )

    size = batch or _AT_ONCE
    if len(image) < size:  # some of them again
        image = np.resize(image, (size, *image.shape[1:]))

    class Images(CalibrationDataReader):
        """The images in parts of one size; a last part that is smaller is left out."""

        def __init__(self) -> None:
            self._starts: Iterator[int] = iter(range(0, len(image) - size + 1, size))

        def get_next(self) -> dict[str, np.ndarray] | None:
            start = next(self._starts, None)
            return None if start is None else {"image": image[start : start + size]}

    prepared = path.with_suffix(".prepared")
    quant_pre_process(str(exported), str(prepared), skip_symbolic_shape=True)
    quantize_static(
        str(prepared),
        str(path),
        Images(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        op_types_to_quantize=["Conv", "MatMul", "Gemm", "Add", "MaxPool", "GlobalAveragePool"],
    )
    prepared.unlink()
    before, after = onnx.load(str(exported)), onnx.load(str(path))
    onnx.helper.set_model_props(after, {p.key: p.value for p in before.metadata_props})
    onnx.save(after, str(path))
