"""triton/: a model repository for NVIDIA's Triton Inference Server, which batches by itself.

tritonserver --model-repository=RUN/export/triton
"""

import json
import re
import shutil
from pathlib import Path

from jaxcnn.exports.model import Model

# Images that the server puts into one batch, and how long it waits for them.
MAX_BATCH, MAX_DELAY_MICROSECONDS = 64, 2000

FOLDER = "triton"
LABELS = "labels.txt"


def repository_name(model: Model) -> str:
    """What the server calls the model: the run's name in letters a URL takes."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", model.card["name"]) or "model"


def write_triton(folder: Path, exported: Path, model: Model) -> None:
    """Writes `<name>/config.pbtxt`, `labels.txt` and `1/model.onnx` into a new folder."""
    place = folder / repository_name(model)
    (place / "1").mkdir(parents=True)
    shutil.copyfile(exported, place / "1" / "model.onnx")
    labels = "".join(f"{name}\n" for name in map(_line, model.card["class_names"]))
    # Names of folders that are no UTF-8 stay the bytes that they were.
    (place / LABELS).write_text(labels, encoding="utf-8", errors="surrogateescape")
    (place / "config.pbtxt").write_text(config(model), encoding="utf-8")


def config(model: Model) -> str:
    """The content of config.pbtxt. A file with a fixed batch is served as it is: the server then
    makes no batches of its own.
    """
    shape, classes = list(model.image_shape), len(model.card["class_names"])
    if model.batch is None:
        size, images, answers = MAX_BATCH, shape, [classes]
        queue = f"dynamic_batching {{ max_queue_delay_microseconds: {MAX_DELAY_MICROSECONDS} }}\n"
    else:
        size, images, answers, queue = 0, [model.batch, *shape], [model.batch, classes], ""
    return (
        f"name: {json.dumps(repository_name(model))}\n"
        'backend: "onnxruntime"\n'
        f"max_batch_size: {size}\n"
        f'input [ {{ name: "image" data_type: TYPE_UINT8 dims: {images} }} ]\n'
        f'output [ {{ name: "probabilities" data_type: TYPE_FP32 dims: {answers} '
        f'label_filename: "{LABELS}" }} ]\n'
        f"{queue}"
    )


def _line(name: str) -> str:
    return " ".join(name.split())
