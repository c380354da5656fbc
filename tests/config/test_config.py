"""A config without contradictions, and one clear line for each mistake in it."""

import json

import pytest

from jaxcnn.builders.data import build_loss
from jaxcnn.config.choices import CHOICES
from jaxcnn.config.keys import (
    default_config,
    differences,
    flatten,
    keywords,
    load_config,
    resolve,
    to_json,
)
from jaxcnn.errors import UserError
from tests.configs import given, message_of


def test_a_resolved_config_is_complete_and_locked():
    config = resolve(given(batch_size=32, model__filters=(8, 16)))
    assert flatten(config).keys() == flatten(default_config()).keys() | {"model.filters"}
    assert (config.batch_size, config.model.filters, config.data.holdout) == (32, (8, 16), 0.1)
    with pytest.raises(AttributeError):
        config.batch_sise = 3


def test_resolving_leaves_the_given_config_as_it_is():
    config = given(num_steps=3, model__kernel_size=None)
    before = config.to_dict()
    resolve(config, {"num_steps"})
    assert config.to_dict() == before


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("batch_sise", "config.batch_sise: no such key (did you mean batch_size?)"),
        ("loss__label_smoothin", "(did you mean label_smoothing?)"),
        ("model__filterz", "model 'cnn' takes no 'filterz' (did you mean filters?)"),
        ("data__sorce", "data 'digits' takes no 'sorce' (did you mean source?)"),
        ("optimizer__learning_rat", "(did you mean learning_rate?)"),
        ("schedule__boundaries", "schedule 'cosine' takes no 'boundaries'"),
        ("model__num_classes", "model 'cnn' takes no 'num_classes'"),  # the data say
    ],
)
def test_an_unknown_key_is_told_its_nearest(key, told):
    message = message_of(**{key: 1})
    assert message.startswith(f"config.{key.replace('__', '.')}: ")
    assert told in message


@pytest.mark.parametrize(
    ("key", "name", "nearest"),
    [
        ("data__source", "digit", "digits"),
        ("model__name", "resnet81", "resnet18"),
        ("optimizer__name", "adamv", "adam"),
        ("schedule__name", "cosin", "cosine"),
    ],
)
def test_an_unknown_name_is_told_its_nearest_and_all_there_are(key, name, nearest):
    message = message_of(**{key: name})
    start = f"config.{key.replace('__', '.')}={name!r} (did you mean {nearest}"
    assert message.startswith(start) and "): expected one of " in message
    for known in CHOICES[key.split("__")[0]].registry():
        assert known in message


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("batch_size", 1.5, "a whole number"),
        ("batch_size", True, "a whole number"),
        ("batch_size", 0, "a number above 0"),
        ("seed", -1, "a whole number from 0 to 2**32 - 1"),
        ("seed", 2**32, "a whole number from 0 to 2**32 - 1"),
        ("dtype", "float16", "one of float32, bfloat16"),
        *(
            (
                "loss__class_weights",
                value,
                "'balanced' or a tuple of numbers from 0, one for each class",
            )
            for value in ("balance", 2, (1, "a"), (1, -1), (), (0, 0), (1, float("inf")), True)
        ),
        ("best_metric", "f1", "one of accuracy, loss, f1_macro, precision_macro, recall_macro"),
        ("data__channels", 2, "1 or 3"),
        ("data__image_size", 0, "a number above 0"),
        ("data__holdout", 1.0, "a share from 0 to below 1"),
        ("data__holdout", "a", "a number"),
        ("data__cache_dir", 3, "a name"),
        ("optimizer__learning_rate", float("nan"), "a number above 0"),
        ("optimizer__weight_decay", -0.1, "a number from 0"),
        ("schedule__final", "x", "a number"),
        ("model__filters", (8, 1.5), "a tuple of whole numbers"),
        ("model__kernel_size", "x", "a whole number or a tuple of whole numbers"),
        ("model__pool_first", 1, "True or False"),
        ("augment", "flip", "a tuple"),
        ("num_steps", 1.5, "a whole number"),
        ("num_epochs", 0.0, "a number above 0"),
        ("num_epochs", "x", "a number above 0"),
        ("num_epochs", float("nan"), "a number above 0"),
        ("num_epochs", float("inf"), "a number above 0"),
        ("data__split_seed", 2**64, "a whole number from 0 to 2**32 - 1"),
        ("optimizer__learning_rate", float("inf"), "a number above 0"),
        ("optimizer__b1", "x", "a number"),
        ("schedule__warmup_steps", -1, "a number from 0"),
    ],
)
def test_a_wrong_value_is_quoted_with_what_is_expected(key, value, expected):
    message = message_of(**{key: value})
    assert message.startswith(f"config.{key.replace('__', '.')}={value!r}: expected ")
    assert message.endswith(expected)


def test_a_keyword_set_to_none_is_not_given():
    config = resolve(given(model__filters=None, model__dropout=0.1))
    assert keywords(config, "model") == {"dropout": 0.1}


def test_keywords_are_those_of_what_the_name_chose():
    config = resolve(given(optimizer__name="sgd", optimizer__momentum=0.9))
    assert keywords(config, "optimizer") == {"momentum": 0.9}


def test_a_name_on_the_command_line_drops_the_files_keywords_it_does_not_take():
    file = {"model__filters": (8,), "model__dropout": 0.1, "model__name": "resnet18"}
    config = resolve(given(**file), overrides={"model.name"})
    assert keywords(config, "model") == {"dropout": 0.1}
    assert "filters" not in config.model
    assert "takes no 'filters'" in message_of((), **file)  # the file contradicts itself
    assert "takes no 'filters'" in message_of({"model.name", "model.filters"}, **file)


@pytest.mark.parametrize("weights", [None, "balanced", (1, 2.5), (0, 1)])
def test_class_weights_are_a_name_or_numbers(weights):
    assert resolve(given(loss__class_weights=weights)).loss.class_weights == weights


def test_class_weights_fit_the_classes_of_the_data():
    def weights(value, counts):
        return build_loss(resolve(given(loss__class_weights=value)), counts).keywords

    assert weights(None, [3, 1])["class_weights"] is None
    assert weights((1, 2), [3, 1])["class_weights"] == (1, 2)
    assert weights("balanced", [3, 1])["class_weights"] == pytest.approx((4 / 6, 2))
    with pytest.raises(UserError, match=r"class_weights=\(1, 2\): 2 numbers for the 3 classes"):
        weights((1, 2), [3, 1, 1])


def test_a_config_survives_json(tmp_path):
    config = resolve(
        given(model__filters=(8, 16), augment=(("crop", {"padding": 1}), "flip"), num_epochs=1.5)
    )
    (tmp_path / "config.json").write_text(to_json(config))
    loaded = load_config(tmp_path / "config.json")
    assert differences(config, loaded) == {}
    assert loaded.model.filters == (8, 16)
    assert to_json(loaded) == to_json(config)


def test_differing_keys_are_listed_with_both_values():
    old, new = resolve(given(seed=1)), resolve(given(seed=2, model__dropout=0.1))
    assert differences(old, new) == {"seed": (1, 2), "model.dropout": (None, 0.1)}


@pytest.mark.parametrize("content", [None, "", "{", "\x00", "[1]", "3"])
def test_what_is_no_config_is_named(tmp_path, content):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match="not the config of a run") as error:
        load_config(path)
    assert str(error.value).startswith(f"{path}: ")


def test_an_old_config_with_an_unknown_key_says_which(tmp_path):
    content = json.loads(to_json(resolve(given()))) | {"shuffle": True}
    (tmp_path / "config.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"config\.shuffle: no such key"):
        load_config(tmp_path / "config.json")
