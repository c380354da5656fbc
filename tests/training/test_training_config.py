"""One clear line for each mistake in the keys of optimiser, average, loss and early stopping."""

import json

import pytest

from jaxcnn.builders.data import build_loss
from jaxcnn.config.durations import make_plan
from jaxcnn.config.keys import differences, flatten, load_config, resolve, to_json
from tests.configs import given, message_of


def plan(**values):
    """Of 1,000 examples in batches of 64."""
    return make_plan(flatten(resolve(given(batch_size=64, **values))), 1000)


def test_rules_of_parameters_freeze_for_steps_of_the_plan():
    rules = (
        ("stem", {"freeze": True}),
        ("stage1", {"freeze_epochs": 0.5}),
        ("stage2", {"freeze_steps": 3, "learning_rate": 0.1}),
        ("rest", {"weight_decay": 0}),
    )
    assert plan(optimizer__rules=rules).frozen == (True, 8, 3, False)


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ("stem", "is no rule; expected (pattern, {what differs})"),
        (("stem",), "is no rule"),
        (("(", {}), "'(' is no regular expression"),
        (("stem", {"lr": 1}), "a rule takes no 'lr'; it takes learning_rate, weight_decay, freeze"),
        (("stem", {"frezee": True}), "(did you mean freeze?)"),
        (("stem", {"freeze": 3}), "freeze is True or False"),
        (("stem", {"learning_rate": 0}), "learning_rate is a number above 0"),
        (("stem", {"weight_decay": -1}), "weight_decay is a number from 0"),
        (("stem", {"freeze_epochs": float("nan")}), "freeze_epochs is a number above 0"),
        (("stem", {"freeze": True, "freeze_steps": 2}), "freeze_steps and freeze: give one"),
        (("stem", {"freeze": True, "learning_rate": 2}), "what is frozen has no learning_rate"),
        (("head", {}), "a second rule for 'head'"),
    ],
)
def test_a_wrong_rule_is_quoted(entry, told):
    message = message_of(optimizer__rules=(("head", {"learning_rate": 2.0}), entry))
    assert message.startswith(f"config.optimizer.rules: {entry!r}")
    assert told in message


def test_rules_under_which_nothing_learns_or_that_say_it_twice_are_refused():
    frozen = (("rest", {"freeze": True}),)
    assert "all is frozen" in message_of(optimizer__rules=frozen)
    assert "give it or config.optimizer.rules" in message_of(
        optimizer__rules=(("rest", {}),), optimizer__layer_decay=0.5
    )


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("optimizer__layer_decay", 1.5, "a factor above 0, up to 1"),
        ("optimizer__accumulate", 0, "a number above 0"),
        ("optimizer__clip_adaptive", -1.0, "a number above 0"),
        ("optimizer__lookahead_share", 1.5, "a share above 0, up to 1"),
        ("ema__decay", 1.0, "a share above 0, below 1"),
        ("ema__kind", "mean", "one of exponential, equal, rising"),
        ("ema__every", 0, "a number above 0"),
        ("early_stop__min_delta", -0.1, "a number from 0"),
        ("early_stop__patience_epochs", 0.0, "a number above 0"),
    ],
)
def test_a_wrong_value_is_quoted_with_what_is_expected(key, value, expected):
    message = message_of(**{key: value})
    assert message == f"config.{key.replace('__', '.')}={value!r}: expected {expected}"


def test_an_average_that_averages_nothing_is_refused():
    assert "give config.ema.decay=0.999" in message_of(ema__start_epochs=1.0)
    assert "config.ema.every: nothing is averaged; give config.ema.decay" in message_of(
        ema__every=5
    )
    assert "'rising': give config.ema.decay" in message_of(ema__kind="rising")
    assert "'equal' has no decay" in message_of(ema__kind="equal", ema__decay=0.9)
    assert plan(ema__kind="equal", ema__start_epochs=0.5).average_from == 8


def test_a_lookahead_that_would_stop_learning_is_refused():
    idle = "config.ema.lookahead=True: steps would come to nothing; give config.ema.every=5"
    for kind in ({}, {"ema__decay": 0.999}, {"ema__kind": "equal", "ema__every": 5}):
        assert idle in message_of(ema__lookahead=True, **kind)
    both = {"ema__lookahead": True, "ema__every": 5, "ema__decay": 0.5}
    assert "do not know of each other" in message_of(**both, optimizer__lookahead_steps=5)
    assert "a multiple of config.optimizer.accumulate=2" in message_of(
        ema__decay=0.5, ema__every=5, optimizer__accumulate=2
    )


def test_a_loss_is_built_with_its_keywords():
    config = resolve(given(loss__name="focal", loss__gamma=1.5, loss__label_smoothing=0.1))
    assert build_loss(config, [3, 1]).keywords["gamma"] == 1.5
    assert "takes no 'gamma'" in message_of(loss__gamma=1.5)
    assert message_of(loss__name="focal", loss__gamma=-1.0).endswith("a number from 0")


def test_a_config_from_before_a_choice_was_one_takes_the_default(tmp_path):
    content = json.loads(to_json(resolve(given())))
    del content["loss"]["name"], content["ema"], content["early_stop"]
    (tmp_path / "config.json").write_text(json.dumps(content))
    assert differences(load_config(tmp_path / "config.json"), resolve(given())) == {}
