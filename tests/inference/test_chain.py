"""From a photo's file to an answer: the same one on every way, to 1e-5."""

import csv
import json

import numpy as np
import pytest

from jaxcnn.data.folder import read_file
from jaxcnn.inference.classifier import load_classifier
from jaxcnn.serving.limits import Limits
from jaxcnn.serving.served import serve_model
from tests.serving.conftest import serving

TOLERANCE = 1e-5  # of float32 probabilities

HEAVY = ["resnet20_cifar", "mobilenet_v2", "efficientnet_b0", "convnext_cifar"]


@pytest.mark.parametrize(
    "model", ["cnn", *(pytest.param(m, marks=pytest.mark.slow) for m in HEAVY)]
)
def test_a_photo_gets_one_answer_on_every_way(model, command, shared, tmp_path, has_tensorflow):
    """Training's own report, predict, serve and the exports, of the run and of its ONNX file.

    An export is written only if its own runtime (onnxruntime, jax.export, Keras, TensorFlow) gives
    real images the answers of JAX; the difference is in model.json.
    """
    photos = shared / "folders/cats_dogs"
    run = tmp_path / model
    given = {"data.source": "folder", "data.dir": photos, "data.image_size": 32, "data.channels": 3,
             "data.test_holdout": 0.3, "num_epochs": 1, "num_steps": None, "batch_size": 32,
             "model.name": model}  # fmt: skip
    flags = [f"--config.{key}={value}" for key, value in given.items() if value is not None]
    command("--config", "experiments/folder.py", *flags, "--workdir", run, check=0)
    command("--workdir", run, module="jaxcnn.evaluate", check=0)
    with (run / "report/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))[:70]
    paths = [str(photos / row["path"]) for row in rows]
    trained = load_classifier(run)
    reported = np.array([[float(row[f"p_{n}"]) for n in trained.class_names] for row in rows])

    for kind in ("onnx,stablehlo,keras,h5", "saved_model"):
        export = ("--workdir", run, f"--format={kind}")
        command(*export, module="jaxcnn.export", check=0, tensorflow=True, fresh=True)
    written = json.loads((run / "export/model.json").read_text())["files"]
    assert len(written) == 5
    assert all(entry["largest_difference"] <= TOLERANCE for entry in written.values())

    for given in (("--workdir", run), ("--artifact", run / "export/model.onnx")):
        done = command(*given, *paths, module="jaxcnn.predict", check=0)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert_same(lines, reported, trained.class_names)
        classifier = load_classifier(given[1])
        served = serve_model(model, classifier, 8, 0.0, 512, 1)
        with serving([served], Limits(2**26, 100, 50_000_000, 60.0, 512)) as client:
            files = [("file", (path, read_file(path))) for path in paths]
            said = client.post("/predict", files=files).json()
        assert_same(said["predictions"], reported, trained.class_names)


def assert_same(answers, reported, names):
    found = [{one["label"]: one["probability"] for one in answer["top"]} for answer in answers]
    said = np.array([[one[name] for name in names] for one in found])
    np.testing.assert_allclose(said, reported, atol=TOLERANCE)
    for answer, probabilities in zip(answers, said, strict=True):
        assert answer["label"] == names[probabilities.argmax()]
