"""--search.KEY=SPEC: what it means, and what is told of its mistakes."""

import pytest

from jaxcnn.config.keys import flatten, resolve
from jaxcnn.errors import UserError
from jaxcnn.search.space import Options, Range, parse_specs
from tests.configs import given


def parsed(key, text, **values):
    return parse_specs({key: text}, flatten(resolve(given(**values))))[key]


@pytest.mark.parametrize(
    ("key", "text", "expected"),
    [
        ("optimizer.learning_rate", "0.1 1", Range(0.1, 1, False, False)),
        ("optimizer.learning_rate", "log 1e-3 1", Range(1e-3, 1, True, False)),
        ("optimizer.learning_rate", "1 2", Range(1, 2, False, False)),
        ("num_epochs", "5 50", Range(5, 50, False, False)),
        ("batch_size", "16 64", Range(16, 64, False, True)),
        ("schedule.warmup_steps", "log 1 64", Range(1, 64, True, True)),
        ("model.convs_per_stage", "1 3", Range(1, 3, False, True)),
        ("model.dropout", "0 1", Range(0, 1, False, False)),
        ("model.norm", "batch|group", Options(("batch", "group"))),
        ("model.filters", "(8,)|(8, 16)", Options(((8,), (8, 16)))),
        ("data.mean", "None|(0.5,)", Options((None, (0.5,)))),
        ("optimizer.nesterov", "True|False", Options((True, False))),
        ("augment", "('flip',)|()", Options((("flip",), ()))),
    ],
)
def test_a_spec_is_a_range_or_choices_of_the_type_its_key_has(key, text, expected):
    assert parsed(key, text) == expected
    assert repr(parsed(key, text)).count("True") == repr(expected).count("True")


def test_the_type_of_a_keyword_is_that_of_whatever_is_searched_and_takes_it():
    specs = {"model.name": "lenet5|wide_resnet16_4", "model.dropout": "0 1", "model.depth": "1 3"}
    found = parse_specs(specs, flatten(resolve(given())))
    assert not found["model.dropout"].whole
    specs = {"optimizer.name": "adamw|sgd", "optimizer.momentum": "0 1"}
    assert not parse_specs(specs, flatten(resolve(given())))["optimizer.momentum"].whole


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("optimizer.learning_rate", "1", 'expected "LOW HIGH", "log LOW HIGH" or "A|B|C"'),
        ("optimizer.learning_rate", "", 'expected "LOW HIGH"'),
        ("optimizer.learning_rate", "1 2 3", 'expected "LOW HIGH"'),
        ("optimizer.learning_rate", "lin 1 2", 'expected "LOW HIGH"'),
        ("optimizer.learning_rate", "1 inf", 'expected "LOW HIGH"'),
        ("optimizer.learning_rate", "1 0.1", "the lower bound comes first, '0.1 1'"),
        ("optimizer.learning_rate", "log 1 .1", "the lower bound comes first, 'log .1 1'"),
        ("optimizer.learning_rate", "log 0 1", "the logarithm of 0 does not exist"),
        ("optimizer.learning_rate", "1 1", "both bounds are the same; fix it with --config.opt"),
        ("optimizer.learning_rate", "1|1", "a choice is there twice"),
        ("optimizer.learning_rate", "1||2", "a choice is empty"),
        ("batch_size", "8 16.5", "batch_size takes whole numbers; give whole bounds"),
    ],
)
def test_a_mistake_in_a_spec_quotes_it(key, text, message):
    with pytest.raises(UserError) as error:
        parsed(key, text)
    assert str(error.value).startswith(f"--search.{key}={text!r}: ")
    assert message in str(error.value)


def test_an_unknown_key_is_told_with_the_nearest():
    with pytest.raises(UserError, match=r"--search\.bach_size: no such key \(did you mean batch_"):
        parsed("bach_size", "1 2")
