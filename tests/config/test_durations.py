"""Lengths and intervals in steps, epochs or examples: given once, and counted exactly."""

import pytest

from jaxcnn.config.durations import DURATIONS, UNITS, make_plan
from jaxcnn.config.keys import flatten, resolve
from tests.configs import given, message_of


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


def test_checkpoints_that_are_asked_for_are_written_at_once():
    def gap(**values):
        return resolve(given(**values)).checkpoint_gap_seconds

    assert gap() == 2
    assert gap(checkpoint_every_steps=5) == gap(checkpoint_every_epochs=1.0) == 0
    assert gap(checkpoint_every_steps=5, checkpoint_gap_seconds=60.0) == 60
    assert gap(checkpoint_gap_seconds=float("inf")) == float("inf")  # only the first and the last
    assert "expected a number from 0" in message_of(checkpoint_gap_seconds=-1.0)
    again = resolve(resolve(given()))
    assert again.checkpoint_gap_seconds == 2


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
