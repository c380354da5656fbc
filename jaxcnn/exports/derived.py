"""What is made of an ONNX file: model_int8.onnx, and triton/ for NVIDIA's server."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxcnn.exports.model import Model

INT8, TRITON = "model_int8.onnx", "triton"

# Images that the ranges of 8 bits are taken from at once.
_AT_ONCE = 32
# Images that Triton puts into one batch, and how long it waits for them.
_MAX_BATCH, _MAX_DELAY_MICROSECONDS = 64, 2000
_LABELS = "labels.txt"


def write_int8(path: Path, exported: Path, image: np.ndarray, batch: int | None) -> None:
    """Writes the model in an ONNX file in 8 bits (Jacob et al. 2018, arXiv:1712.05877), with the
    same input, output and metadata. It is no faithful copy: its accuracy is what to measure.

    image: uint8[N, H, W, C] of the training data, which shows the ranges of activations.
    batch: the file's; None for any.
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


def write_triton(folder: Path, exported: Path, model: Model) -> None:
    """Writes a model repository for NVIDIA's Triton Inference Server, which batches by itself:
    `<name>/config.pbtxt`, `labels.txt` and `1/model.onnx` in a new folder.

    tritonserver --model-repository=RUN/export/triton

    The server calls the model as the run is called, in letters that a URL takes.
    """
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", model.card["name"]) or "model"
    place = folder / name
    (place / "1").mkdir(parents=True)
    shutil.copyfile(exported, place / "1" / "model.onnx")
    labels = "".join(f"{' '.join(label.split())}\n" for label in model.card["class_names"])
    # Names of folders that are no UTF-8 stay the bytes that they were.
    (place / _LABELS).write_text(labels, encoding="utf-8", errors="surrogateescape")
    shape, classes = list(model.image_shape), len(model.card["class_names"])
    if model.batch is None:
        size, images, answers = _MAX_BATCH, shape, [classes]
        queue = f"dynamic_batching {{ max_queue_delay_microseconds: {_MAX_DELAY_MICROSECONDS} }}\n"
    else:  # a file with a fixed batch is served as it is: the server makes no batches of its own
        size, images, answers, queue = 0, [model.batch, *shape], [model.batch, classes], ""
    config = (
        f"name: {json.dumps(name)}\n"
        'backend: "onnxruntime"\n'
        f"max_batch_size: {size}\n"
        f'input [ {{ name: "image" data_type: TYPE_UINT8 dims: {images} }} ]\n'
        f'output [ {{ name: "probabilities" data_type: TYPE_FP32 dims: {answers} '
        f'label_filename: "{_LABELS}" }} ]\n'
        f"{queue}"
    )
    (place / "config.pbtxt").write_text(config, encoding="utf-8")
