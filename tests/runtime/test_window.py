"""Metrics on their way from the device."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.runtime.window import MetricWindow, NonFiniteLoss


def metrics(loss, correct=1, count=2):
    return {"loss": jnp.float32(loss), "correct": jnp.int32(correct), "count": jnp.float32(count)}


def alone(tree):
    return {name: np.asarray(value)[None] for name, value in tree.items()}


def test_a_line_is_the_mean_over_examples_not_over_steps():
    window = MetricWindow(alone)
    window.add(1, metrics(2.0, correct=1, count=1))
    window.add(2, metrics(3.0, correct=0, count=4))
    (line,) = window.collect()
    assert line["loss"] == pytest.approx(1.0)
    assert line["accuracy"] == pytest.approx(0.2)
    assert line["images_per_second"] > 0


def test_the_window_is_empty_after_a_line():
    window = MetricWindow(alone)
    window.add(1, metrics(2.0))
    window.collect()
    assert window.latest() is None
    window.add(2, metrics(6.0))
    assert window.collect()[0]["loss"] == pytest.approx(3.0)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_the_first_step_with_a_loss_that_is_not_finite_is_named(value):
    window = MetricWindow(alone)
    for step, loss in enumerate((1.0, value, 1.0, np.nan), 1):
        window.add(step, metrics(loss))
    (error,) = window.collect()
    assert isinstance(error, NonFiniteLoss)
    assert error.step == 2
    assert "at step 2" in str(error)


def test_the_latest_step_is_one_that_need_not_be_waited_for():
    window = MetricWindow(alone)
    assert window.latest() is None
    for step in range(1, 6):
        window.add(step, metrics(2.0 * step))
    assert window.latest() == (3, 3.0)  # on the CPU two more may be under way


def left_out():
    return metrics(0.0, correct=0, count=0) | {"skipped": jnp.int32(1)}


def made(loss):
    return metrics(loss) | {"skipped": jnp.int32(0)}


def test_updates_left_out_are_counted_and_no_part_of_the_means():
    window = MetricWindow(alone, max_skipped=2)
    for step, entry in enumerate((left_out(), left_out(), made(4.0), left_out(), made(2.0)), 1):
        window.add(step, entry)
    (line,) = window.collect()
    assert (line["skipped"], line["loss"], line["accuracy"]) == (3, 1.5, 0.5)


def test_too_many_left_out_in_a_row_stop_the_run_also_across_lines():
    window = MetricWindow(alone, max_skipped=2)
    window.add(1, made(1.0))
    window.add(2, left_out())
    assert window.collect()[0]["skipped"] == 1
    window.add(3, left_out())
    (line,) = window.collect()
    assert line["skipped"] == 1 and "loss" not in line
    window.add(4, left_out())
    (error,) = window.collect()
    assert isinstance(error, NonFiniteLoss) and error.step == 4
    assert str(error) == "each of the last 3 updates is not finite at step 4"


def test_the_latest_loss_of_an_update_left_out_is_not_a_number():
    window = MetricWindow(alone, max_skipped=2)
    window.add(1, left_out())
    step, loss = window.latest()
    assert step == 1 and np.isnan(loss)
