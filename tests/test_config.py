"""A config without contradictions, and one clear line for each mistake in it."""

import json

import pytest

from jaxcnn.build import build_augment, build_loss
from jaxcnn.choices import CHOICES, augmentation
from jaxcnn.config import (
    default_config,
    differences,
    flatten,
    keywords,
    load_config,
    resolve,
    to_json,
)
from jaxcnn.core.augment import AUGMENTATIONS
from jaxcnn.durations import DURATIONS, UNITS, make_plan
from jaxcnn.errors import UserError
from jaxcnn.typecheck import describe, matches


def given(**values):
    """A config as a file would return it; `__` stands for a dot, the length is 1 epoch."""
    config = default_config()
    values = {key.replace("__", "."): value for key, value in values.items()}
    if not any(key in values for key in ("num_steps", "num_epochs", "num_examples")):
        values["num_epochs"] = 1.0
    with config.ignore_type():
        for key, value in values.items():
            *parts, leaf = key.split(".")
            part = config
            for name in parts:
                part = part[name]
            part[leaf] = value
    return config


def message_of(overrides=(), **values):
    with pytest.raises(UserError) as error:
        resolve(given(**values), overrides)
    message = str(error.value)
    assert "\n" not in message
    return message


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
        ("loss__label_smoothin", "(did you mean loss.label_smoothing?)"),
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
    assert message.startswith(f"config.{key.replace('__', '.')}={name!r}: expected one of ")
    assert f"(did you mean {nearest}" in message
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


@pytest.mark.parametrize("name", [name for name in DURATIONS if name != "num"])
def test_a_duration_in_two_units_is_refused(name):
    keys = [f"{name}_steps", f"{name}_examples"]
    message = message_of(**{key.replace(".", "__"): 7 for key in keys})
    assert message.startswith(f"config.{keys[0]}=7 and config.{keys[1]}=7 say the same")


def test_the_length_is_given_in_exactly_one_unit():
    assert "config.num_steps=3 and config.num_epochs=2.0" in message_of(num_steps=3, num_epochs=2.0)
    message = message_of(num_epochs=None)
    assert message.startswith("config.num_epochs: give how long to train")
    assert "--config.num_epochs=10" in message


def test_a_duration_on_the_command_line_replaces_the_files():
    config = resolve(given(num_epochs=5.0, num_steps=3), overrides={"num_steps"})
    assert (config.num_steps, config.num_epochs) == (3, None)
    both = {"num_epochs": 5.0, "num_steps": 3}
    assert "in different units" in message_of(both.keys(), **both)


def test_a_duration_not_given_has_its_default_and_no_other():
    config = resolve(given(log_every_examples=500))
    found = {key: value for key, value in flatten(config).items() if key.endswith(UNITS)}
    assert {key: value for key, value in found.items() if value is not None} == {
        "num_epochs": 1,
        "eval_every_epochs": 1,
        "checkpoint_every_epochs": 1,
        "log_every_examples": 500,
    }


def plan(num_train=1000, **values):
    return make_plan(flatten(resolve(given(batch_size=64, **values))), num_train)


@pytest.mark.parametrize(
    ("length", "steps"),
    [
        ({"num_steps": 7}, 7),
        ({"num_epochs": 1.0}, 16),  # 15.6
        ({"num_epochs": 2.0}, 32),  # 31.25
        ({"num_epochs": 0.5}, 8),  # 7.8
        ({"num_examples": 640}, 10),
        ({"num_examples": 641}, 11),
    ],
)
def test_a_length_in_any_unit_becomes_steps_that_cover_it(length, steps):
    assert plan(**length).num_steps == steps


def test_a_warm_up_may_be_left_to_the_schedule():
    assert plan().warmup_steps is None
    assert plan(schedule__warmup_steps=0).warmup_steps == 0
    assert plan(schedule__warmup_epochs=0.1).warmup_steps == 2  # 1.6


def due(interval, steps=40):
    return [step for step in range(1, steps + 1) if interval.due(step)]


def test_an_interval_is_due_at_the_step_that_completes_it():
    assert due(plan(log_every_steps=10).log_every) == [10, 20, 30, 40]
    assert due(plan().eval_every) == [16, 32]  # 1000 and 2000 examples
    assert due(plan(eval_every_examples=100).eval_every)[:4] == [2, 4, 5, 7]


def test_an_interval_shorter_than_a_step_is_due_every_step():
    assert due(plan(eval_every_examples=1).eval_every, 5) == [1, 2, 3, 4, 5]


def test_the_second_epoch_ends_where_two_epochs_of_training_end():
    for num_train in (63, 64, 65, 1000, 1797):
        whole = plan(num_train, num_epochs=2.0)
        assert whole.eval_every.due(whole.num_steps), num_train


@pytest.mark.parametrize(
    ("entry", "name", "given_keywords"),
    [
        ("flip", "flip", {}),
        (("flip", 0.3), "flip", {"probability": 0.3}),
        (("crop", 4), "crop", {"padding": 4}),
        (("crop", {"padding": 4}), "crop", {"padding": 4}),
        (("erasing", {"scale": (0.1, 0.2)}), "erasing", {"scale": (0.1, 0.2)}),
        ("alternating_flip", "alternating_flip", {}),
        (("mixup", 1), "mixup", {"alpha": 1}),
    ],
)
def test_an_augmentation_is_a_name_with_a_number_or_keywords(entry, name, given_keywords):
    assert augmentation(entry) == (AUGMENTATIONS[name], given_keywords)
    resolve(given(augment=(entry,)))


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("flop", "did you mean flip?"),
        ("crop", "needs its padding: ('crop', padding)"),
        (("crop", 1.5), "padding is a whole number"),
        (("crop", -4), "padding=-4: expected a number of pixels from 0"),
        (("flip", 1.5), "probability=1.5: expected a share from 0 to 1"),
        (({"name": "crop"},), "expected a name or (name, number)"),
        (("crop", {"paddin": 4}), "padding"),
        (("flip", "often"), "probability is a number"),
        (("flip", 0.5, 3), "expected a name or (name, number)"),
        (4, "expected a name or (name, number)"),
        (("alternating_flip", 0.5), "alternating_flip takes nothing"),
        (("mixup", {"num_classes": 3}), "mixup takes alpha, probability"),  # the data say
        (("mixup", 0.0), "alpha=0.0: expected a number above 0"),
        (("cutmix", {"probability": 2}), "probability=2: expected a share from 0 to 1"),
        (("resized_crop", {"scale": (0.5, 2.0)}), "expected (low, high) with 0 < low <= high <= 1"),
        (("resized_crop", {"scale": (0.5,)}), "expected (low, high)"),
        (("affine", {"shear": 90}), "shear=90: expected an angle from 0 to below 90"),
        (("rotation", float("nan")), "expected an angle from 0"),
        (("hue", 0.6), "amount=0.6: expected a share of the circle from 0 to 0.5"),
        (("blur", 0), "sigma=0: expected a number of pixels from 0.1"),
        (("cutout", 0), "size=0: expected a number of pixels from 1"),
        (("randaugment", {"magnitude": 11}), "magnitude=11: expected a number from 0 to 10"),
        (("randaugment", 0), "num_ops=0: expected a whole number from 1"),
    ],
)
def test_a_wrong_augmentation_is_quoted(entry, told):
    message = message_of(augment=(entry,))
    assert message.startswith(f"config.augment: {entry!r}")
    assert told in message


def test_images_too_small_or_batches_too_odd_for_an_augmentation_are_refused():
    def build(entry, **keys):
        config = resolve(given(augment=(entry,), **keys))
        return build_augment(config, 10, (8, 8, 1), config.batch_size)

    with pytest.raises(UserError, match=r"config\.augment: \('crop', 8\): .* 8x8 pixels"):
        build(("crop", 8))
    with pytest.raises(UserError, match=r"config\.augment: 'mixup': a batch of 63"):
        build("mixup", batch_size=63)
    build(("crop", 7))


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


@pytest.mark.parametrize(
    ("hint", "fit", "misfit", "words"),
    [
        (int, [0, -3], [1.0, True, "1", None], "a whole number"),
        (float, [0.5, 3], [True, "1", None], "a number"),
        (bool, [True], [1, "True"], "True or False"),
        (str, ["x"], [1, None], "a name"),
        (tuple[int, ...], [(), (1, 2)], [1, (1, "a"), [1]], "a tuple of whole numbers"),
        (tuple, [(1, "a")], [1], "a tuple"),
        (int | None, [1, None], [1.5, "x"], "a whole number"),
        (int | tuple[int, ...], [1, (1,)], [1.5], "a whole number or a tuple of whole numbers"),
    ],
)
def test_values_are_matched_with_hints_and_hints_said_in_words(hint, fit, misfit, words):
    assert all(matches(value, hint) for value in fit)
    assert not any(matches(value, hint) for value in misfit)
    assert describe(hint) == words
