"""What is exported is what was trained, whichever format and model; or it is refused."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.core.models import MODELS
from jaxcnn.errors import UserError
from jaxcnn.exports import FORMATS
from jaxcnn.exports.verified import TOLERANCE, put_in_place, reference, write_verified
from tests.exports.models import crops, make_model

pytestmark = pytest.mark.quick

# TensorFlow's needs a process of its own, see tests/exports/test_export.py.
HERE = [name for name in FORMATS if name != "saved_model"]


def difference(folder, name, model):
    image = crops(model.image_shape[0])
    return write_verified(folder, name, model, image, reference(model, image)).difference


@pytest.mark.parametrize("name", HERE)
def test_a_cnn_answers_in_every_format_as_in_jax(name, tmp_path):
    assert difference(tmp_path, name, make_model("cnn", filters=(8, 16))) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", HERE)
@pytest.mark.parametrize(
    "model", ["resnet20_cifar", "mobilenet_v2", "efficientnet_b0", "convnext_cifar"]
)
def test_other_families_do_too(model, name, tmp_path):
    assert difference(tmp_path, name, make_model(model)) <= 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_model_answers_in_onnx_as_in_jax(name, tmp_path):
    assert difference(tmp_path, "onnx", make_model(name, size=64)) <= 1e-5


@pytest.mark.parametrize(
    "keywords",
    [
        {"activation": "elu", "pool": "avg"},
        {"activation": "leaky_relu", "pool_first": True},
        {"activation": "gelu", "flatten": True, "dense": (5,)},
        {"activation": "gelu_exact", "norm": "layer"},
        {"activation": "hard_swish", "strides": 2, "pool": "none"},
        {"activation": "silu", "norm": "none"},
    ],
    ids=lambda keywords: " ".join(map(str, keywords.values())),
)
def test_every_part_a_cnn_can_be_made_of_is_exported(keywords, tmp_path):
    model = make_model("cnn", size=16, filters=(4, 6), convs_per_stage=1, **keywords)
    for name in ("onnx", "keras"):
        assert difference(tmp_path, name, model) <= 1e-5


def test_the_averages_over_a_grid_of_a_vgg_are_exported(tmp_path):
    """A product along height, and one along width."""
    model = make_model("vgg11", width=4, grid=3, dense=(8,))
    for name in ("onnx", "keras"):
        assert difference(tmp_path, name, model) <= 1e-5


def test_an_operation_that_keras_has_no_layer_for_is_refused_by_name(tmp_path):
    """And ONNX has it."""
    model = make_model("cnn", size=16, filters=(4,), norm="group")
    with pytest.raises(UserError, match=r"^keras: has no way to say .*, for which Keras has no"):
        difference(tmp_path, "keras", model)
    assert not list(tmp_path.iterdir())
    assert difference(tmp_path, "onnx", model) <= 1e-5


@pytest.mark.parametrize(
    ("apply", "why"),
    [
        (lambda variables, x: jnp.sort(x.mean((1, 2))), "the operation sort"),
        (lambda variables, x: (x - x.mean(0)).mean((1, 2)), "across the images of a batch"),
        (lambda variables, x: jnp.zeros((len(x), 3)), "depends on no image"),
    ],
)
def test_what_is_no_answer_to_single_images_or_unknown_is_refused(apply, why, tmp_path):
    model = dataclasses.replace(make_model("cnn"), apply=apply)
    image = crops(32)
    with pytest.raises(UserError, match=f"^onnx: has no way to say .*{why}"):
        write_verified(tmp_path, "onnx", model, image, np.zeros((65, 3), np.float32))


@pytest.mark.parametrize("name", HERE)
def test_a_file_that_answers_otherwise_is_refused_and_an_earlier_one_kept(name, tmp_path):
    model, image = make_model("cnn", filters=(4,)), crops(32)
    expected = reference(model, image)
    written = write_verified(tmp_path, name, model, image, expected).path
    before = written.read_bytes()
    expected[40, 3] += 2 * TOLERANCE
    with pytest.raises(UserError, match=r"differs from the model by 2.0e-05 on 65 images"):
        write_verified(tmp_path, name, model, image, expected)
    assert written.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [written.name]


@pytest.mark.parametrize("batch", [None, 3])
def test_the_batch_is_any_number_or_the_one_that_was_asked_for(batch, tmp_path):
    import onnxruntime

    model = make_model("cnn", filters=(4,), batch=batch)
    for name in ("onnx", "stablehlo", "keras"):
        assert difference(tmp_path, name, model) <= 1e-5
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    (image,), (answer,) = session.get_inputs(), session.get_outputs()
    assert (image.name, image.type, image.shape[1:]) == ("image", "tensor(uint8)", [32, 32, 3])
    assert (answer.name, answer.type, answer.shape[1:]) == ("probabilities", "tensor(float)", [10])
    assert image.shape[0] == answer.shape[0] == ("B" if batch is None else 3)
    exported = jax.export.deserialize(bytearray((tmp_path / "model.stablehlo").read_bytes()))
    assert str(exported.in_avals[0].shape[0]) == ("B" if batch is None else "3")
    assert exported.platforms == ("cpu", "cuda", "tpu")


def test_batch_norm_is_gone_from_the_convolutions_of_an_onnx_file(tmp_path):
    """So does onnxruntime itself when it loads one; not all that reads the file does."""
    import onnx

    assert difference(tmp_path, "onnx", make_model("cnn", filters=(4, 8))) <= 1e-5
    operations = [node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node]
    assert operations == [
        "Transpose", "Cast", "Mul", "Add",
        *("Conv", "Relu", "Conv", "Relu", "MaxPool") * 2,
        "GlobalAveragePool", "Flatten", "Gemm", "Softmax", "Identity",
    ]  # fmt: skip


def test_a_folder_that_cannot_be_put_in_place_leaves_the_earlier_one(tmp_path, monkeypatch):
    final, path = tmp_path / "triton", tmp_path / "unfinished" / "triton"
    final.mkdir()
    (final / "before").touch()
    path.mkdir(parents=True)
    replace = Path.replace

    def interrupted(self, target):
        if self == path:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        put_in_place(path, final)
    assert [file.name for file in final.iterdir()] == ["before"]
