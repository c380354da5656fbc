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
