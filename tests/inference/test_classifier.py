"""What a trained model says of an image is the same wherever it is asked."""

import csv
import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from jaxcnn.data import SOURCES
from jaxcnn.errors import UserError
from jaxcnn.inference.classifier import MOST_AT_ONCE, answer, load_classifier
from tests.images import saved


@pytest.fixture(scope="module")
def digits():
    images, _ = SOURCES["digits"]()["train"].read(np.arange(1797))
    return np.stack(images)


def test_the_probabilities_are_those_of_the_report(workdir, digits):
    with (workdir / "report/predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    classifier = load_classifier(workdir)
    said = classifier.probabilities(digits[[int(row["index"]) for row in rows]])
    reported = [[float(row[f"p_{name}"]) for name in classifier.class_names] for row in rows]
    np.testing.assert_allclose(said, reported, atol=2e-6)


@pytest.mark.parametrize("count", [1, 3, MOST_AT_ONCE, MOST_AT_ONCE + 3])
def test_an_answer_does_not_depend_on_how_many_images_come_with_it(workdir, digits, count):
    classifier = load_classifier(workdir)
    alone = np.concatenate([classifier.probabilities(digits[k][None]) for k in range(3)])
    together = classifier.probabilities(digits[:count])
    assert together.shape == (count, 10) and together.dtype == np.float32
    np.testing.assert_allclose(together[:3], alone[:count], atol=1e-6)


def test_a_file_is_read_as_in_training(workdir, digits):
    classifier = load_classifier(workdir)
    np.testing.assert_array_equal(classifier.read(saved(digits[5], "PNG")), digits[5])
    photo = np.asarray(Image.fromarray(digits[5][..., 0]).resize((32, 24)))
    assert classifier.read(saved(np.stack([photo] * 3, -1), "JPEG")).shape == (8, 8, 1)
    with pytest.raises(ValueError, match="is empty"):
        classifier.read(b"")


def test_an_answer_names_the_likeliest_classes_in_order(workdir, digits):
    classifier = load_classifier(workdir)
    said = answer(classifier, classifier.probabilities(digits[:1])[0], top=3)
    assert said["label"] == said["top"][0]["label"] == "0"
    likely = [one["probability"] for one in said["top"]]
    assert len(likely) == 3 and likely == sorted(likely, reverse=True)


def test_what_is_no_run_and_no_export_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such folder"):
        load_classifier(tmp_path / "nothing")
    with pytest.raises(UserError, match="no such file"):
        load_classifier(tmp_path / "nothing.onnx")


def model_file(path, card, name="image", size=8, classes=2):
    """A small ONNX file that says what `card` is."""
    from onnx import TensorProto, helper, save

    image = helper.make_tensor_value_info(name, TensorProto.UINT8, ["B", size, size, 1])
    given = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["B", classes])
    nodes = [
        helper.make_node("Cast", [name], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["real"], ["flat"]),
        helper.make_node("Slice", ["flat", "from", "to", "axis"], ["probabilities"]),
    ]
    numbers = {"from": 0, "to": classes, "axis": 1}
    constants = [helper.make_tensor(k, TensorProto.INT64, [1], [v]) for k, v in numbers.items()]
    graph = helper.make_graph(nodes, "model", [image], [given], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    if card is not None:
        helper.set_model_props(model, {"jaxcnn": card})
    save(model, path)
    return path


CARD = {"name": "m", "class_names": ["a", "b"], "image_shape": [8, 8, 1], "decoding": {}}


@pytest.mark.parametrize(
    ("card", "model"),
    [
        ("{", {}),
        ("[1]", {}),
        ("{}", {}),
        (json.dumps(CARD | {"class_names": "ab"}), {}),
        (json.dumps(CARD | {"image_shape": 8}), {}),
        (json.dumps(CARD), {"name": "x"}),
        (json.dumps(CARD), {"size": 9}),
        (json.dumps(CARD), {"classes": 3}),
    ],
)
def test_a_file_that_is_not_what_it_says_is_refused_in_one_line(card, model, tmp_path):
    path = model_file(tmp_path / "model.onnx", card, **model)
    with pytest.raises(UserError, match=r"^.*; give one that jaxcnn export wrote$"):
        load_classifier(path)


def test_a_card_beside_a_file_is_of_that_file(tmp_path):
    path = model_file(tmp_path / "model.onnx", None)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    beside = tmp_path / "model.json"
    beside.write_text(json.dumps(CARD | {"files": {"model.onnx": {"sha256": digest}}}))
    assert load_classifier(path).class_names == ("a", "b")
    for files in ({"model.onnx": {"sha256": "0" * 64}}, {}, [1]):
        beside.write_text(json.dumps(CARD | {"files": files}))
        with pytest.raises(UserError, match="says nothing of its classes; give one that"):
            load_classifier(path)
