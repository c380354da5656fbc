"""Weights that Keras has written do in a linen module what they do in Keras."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.core.models import MODELS
from jaxcnn.errors import UserError
from jaxcnn.pretrained.convert import convert
from jaxcnn.pretrained.names import KERAS
from jaxcnn.pretrained.read import read_weights
from tests.pretrained import keras_reference

h5py = pytest.importorskip("h5py", reason="h5py is not installed")


class Net(nn.Module):
    """One of each layer that Keras keeps differently from PyTorch: that of keras_reference.py."""

    @nn.compact
    def __call__(self, x):
        x = nn.Conv(6, (3, 3), strides=2, padding="VALID", name="conv")(x)
        x = nn.BatchNorm(use_running_average=True, epsilon=1e-3, name="norm")(x)
        x = nn.Conv(12, (3, 3), feature_group_count=6, padding="VALID", name="depthwise")(
            nn.relu(x)
        )
        x = nn.Conv(8, (1, 1), feature_group_count=2, use_bias=False, name="grouped")(x)
        x = nn.LayerNorm(epsilon=1e-3, name="layer_norm")(x)
        return nn.Dense(5, name="head")(x.mean((1, 2)))


def outputs(path):
    """What that net makes of the reference's images with the weights in a file."""
    image, module = keras_reference.images(), Net()
    like = jax.eval_shape(module.init, jax.random.key(0), image)
    converted = convert(read_weights(path), ((r"(.*)", r"\1"),), like)
    assert not (converted.missing or converted.left_over or converted.misfits)
    return jax.jit(module.apply)(converted.variables, image)


def test_every_layer_that_keras_keeps_in_its_own_way_gives_its_outputs():
    expected = np.load(keras_reference.OUTPUTS)
    np.testing.assert_allclose(outputs(keras_reference.WEIGHTS), expected, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def keras():
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KERAS_BACKEND", "jax")
        return pytest.importorskip("keras", reason="Keras is not installed")


@pytest.mark.slow
def test_the_keras_of_today_writes_the_same_file(keras, tmp_path):
    expected = keras_reference.write(keras, tmp_path / "w.weights.h5")
    np.testing.assert_allclose(expected, np.load(keras_reference.OUTPUTS), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(outputs(tmp_path / "w.weights.h5"), expected, rtol=1e-5, atol=1e-5)


def write(path, layer, arrays, name="layer", **attributes):
    """A file as Keras writes it, of one layer."""
    with h5py.File(path, "w") as file:
        group = file.create_group(f"layers/{layer}/vars")
        if name is not None:
            group.attrs["name"] = name
        for number, array in enumerate(arrays):
            group.create_dataset(str(number), data=array).attrs.update(attributes)


def test_bfloat16_is_told_by_an_attribute(tmp_path):
    value = np.arange(6, dtype=np.float32).reshape(2, 3).astype(jnp.bfloat16)
    write(tmp_path / "w.weights.h5", "dense_7", [value], dtype="bfloat16")
    (name, read), *_ = read_weights(tmp_path / "w.weights.h5").items()
    assert (name, read.dtype) == ("layer.weight", jnp.bfloat16)
    np.testing.assert_array_equal(read, value.T)


def test_what_cannot_be_read_right_is_refused(tmp_path):
    path = tmp_path / "w.weights.h5"

    def message():
        with pytest.raises(UserError) as error:
            read_weights(path)
        return str(error.value)

    write(path, "lstm_1", [np.ones(2)], name="memory")
    assert message() == f"{path}: layer 'memory' is a lstm that cannot be read here"
    write(path, "batch_normalization", [np.ones(2)] * 3)  # without scale, or without shift?
    assert "layer 'layer' is a batch_normalization that cannot be read here" in message()
    write(path, "dense", [np.ones((2, 2))], name=None)
    assert "has no names of layers; write it again with a newer Keras 3" in message()
    with h5py.File(path, "w") as file:
        file.create_group("model_weights")
    assert "not the weights of Keras 3; load the model there and write them with" in message()


@pytest.mark.slow
def test_keras_applications_convnext_gives_its_logits(keras, tmp_path):
    if "convnext_tiny" not in MODELS:
        pytest.skip("no convnext_tiny here")
    net = keras.applications.ConvNeXtTiny(
        weights=None, input_shape=(64, 64, 3), classes=7, classifier_activation=None,
        include_preprocessing=False,
    )  # fmt: skip
    draw = np.random.default_rng(0).normal
    net.set_weights([draw(0.1, 0.1, weight.shape) for weight in net.get_weights()])
    net.save_weights(tmp_path / "w.weights.h5")
    image = np.random.default_rng(1).normal(size=(2, 64, 64, 3)).astype(np.float32)
    module = MODELS["convnext_tiny"](num_classes=7)
    like = jax.eval_shape(
        lambda: module.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)), train=False)
    )
    converted = convert(read_weights(tmp_path / "w.weights.h5"), KERAS["convnext"], like)
    assert not (converted.missing or converted.left_over or converted.misfits)
    ours = jax.jit(lambda v, x: module.apply(v, x, train=False))(converted.variables, image)
    theirs = np.asarray(net(image))
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * np.abs(theirs).max())
