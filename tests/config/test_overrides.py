"""What --config.KEY=VALUE stands for: one rule for all keys, names as they are written."""

import pytest

from jaxcnn.config import default_config, resolve
from jaxcnn.config.overrides import apply_overrides
from jaxcnn.errors import UserError

pytestmark = pytest.mark.quick


def read(*texts):
    """{key: value} of texts such as "seed=1"."""
    return apply_overrides(default_config(), dict(text.split("=", 1) for text in texts))


@pytest.mark.parametrize("name", ["2024", "1e3", "True", "007", "None?", "'a'", "(1,)", "nan", ""])
def test_a_name_is_taken_as_it_is_written(name):
    values = read("data.source=folder", f"data.dir={name}", f"pretrained.path={name}")
    assert values == {"data.source": "folder", "data.dir": name, "pretrained.path": name}
    assert read("data.source=csv", f"data.path_column={name}")["data.path_column"] == name


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("batch_size=0x10", 16), ("batch_size=08", 8), ("optimizer.learning_rate=1", 1.0),
        ("checkpoint_gap_seconds=inf", float("inf")), ("auto=true", True), ("auto=0", False),
        ("augment=flip", ("flip",)), ("augment=('flip',('crop',4))", ("flip", ("crop", 4))),
        ("model.filters=8", (8,)),
        ("model.convs_per_stage=1", 1), ("model.convs_per_stage=1,2", (1, 2)),
        ("model.filters=[8,16]", (8, 16)), ("data.window=file", "file"),
        ("data.window=(0,4095)", (0, 4095)), ("loss.class_weights=balanced", "balanced"),
        ("model.dropout=0", 0.0), ("optimizer.b1=0.5", 0.5), ("optimizer.nesterov=True", True),
    ],
)  # fmt: skip
def test_a_value_is_of_the_type_of_its_key(text, value):
    (got,) = read(text).values()
    assert got == value and type(got) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_size=1.5", "config.batch_size='1.5': expected a whole number"),
        ("batch_size={0:1}", "config.batch_size='{0:1}': expected a whole number"),
        ("augment={'flip':1}", "expected a tuple"),
        ("model.filters={0:3}", "expected a tuple of whole numbers"),
        ("data.mean={.5}", "expected a tuple"),
        ("auto=perhaps", "config.auto='perhaps': expected True or False"),
        ("loss.class_weights.0=2", "'class_weights.0' (did you mean class_weights?)"),
    ],
)
def test_what_a_key_cannot_be_is_one_line(text, message):
    with pytest.raises(UserError) as error:
        read(text)
    assert message in str(error.value)


@pytest.mark.parametrize(
    "key", ["data.image_size", "data.window", "data.mean", "data.mode", "ema.decay",
            "loss.class_weights", "model.dropout", "optimizer.clip_norm", "report.attack"],
)  # fmt: skip
def test_none_is_none_where_that_may_be(key):
    assert read(f"{key}=None") == {key: None}


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("batch_size", "a whole number"), ("data.source", "a name, '' for none"),
        ("augment", "a tuple, () for none"), ("report.at_end", "True or False"),
        ("optimizer.learning_rate", "a number"), ("pretrained.path", "a name, '' for none"),
    ],
)  # fmt: skip
def test_none_is_refused_elsewhere(key, expected):
    with pytest.raises(UserError) as error:
        read(f"{key}=None")
    assert str(error.value) == f"config.{key}=None: expected {expected}"


def test_a_folder_that_must_be_given_is_not_none():
    with pytest.raises(UserError, match=r"config\.data\.dir=None: expected a name"):
        read("data.source=folder", "data.dir=None")


@pytest.mark.parametrize(
    ("weights", "resolved"), [({0: 1.0, 1: 2.0}, (1.0, 2.0)), ({1: 2, 0: 1}, (1, 2))]
)
def test_class_weights_are_taken_as_keras_takes_them(weights, resolved):
    config = default_config()
    config.num_epochs, config.loss.class_weights = 1, weights
    assert resolve(config).loss.class_weights == resolved
    apply_overrides(config, {"loss.class_weights": str(weights)})
    assert resolve(config).loss.class_weights == resolved


@pytest.mark.parametrize("weights", [{"cat": 1.0, "dog": 2.0}, {1: 2.0}, {0: "a", 1: 2.0}, {}])
def test_class_weights_that_name_other_classes_are_one_line(weights):
    config = default_config()
    config.num_epochs, config.loss.class_weights = 1, weights
    with pytest.raises(UserError, match="a tuple of numbers from 0, one for each class"):
        resolve(config)
