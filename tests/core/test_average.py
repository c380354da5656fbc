"""Averages are those of the definition, take BatchNorm's statistics along, and are evaluated."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import (
    MODELS,
    TrainState,
    create_train_state,
    make_eval_step,
    make_optimizer,
    make_train_step,
)
from jaxcnn.core.average import equal, exponential, make_average
from tests.steps import SHAPE, leaves, real_batch

VALUES = np.random.default_rng(0).normal(size=40).astype(np.float32)


def averages(share, start=0):
    """The average after each of VALUES, of a state whose first average must not matter."""
    average = make_average(share, start)

    def update(averaged, step_and_value):
        step, value = step_and_value
        state = TrainState(step, value, {}, (), None, averaged)
        averaged = average(state)
        return averaged, averaged["params"]

    first = {"params": jnp.float32(1e6), "batch_stats": {}}
    return np.asarray(jax.lax.scan(update, first, (jnp.arange(1, 41), VALUES))[1])


def test_equal_weights_give_the_mean():
    means = VALUES.cumsum() / np.arange(1, 41)
    np.testing.assert_allclose(averages(equal()), means, atol=1e-6)


def test_an_exponential_average_forgets_as_it_says():
    expected = [VALUES[0]]
    for count, value in enumerate(VALUES[1:], start=1):
        decay = min(0.7, (1 + count) / (10 + count))
        expected.append(decay * expected[-1] + (1 - decay) * value)
    np.testing.assert_allclose(averages(exponential(0.7)), expected, atol=1e-6)


@pytest.mark.parametrize("share", [equal(), exponential(0.9)])
def test_until_its_start_an_average_is_the_model_itself(share):
    late = averages(share, start=10)
    np.testing.assert_array_equal(late[:11], VALUES[:11])
    assert (late[11:] != VALUES[11:]).all()


@pytest.fixture(scope="module")
def trained():
    """(model, [state after each of 4 steps]), averaged with equal weights"""
    model = MODELS["cnn"](num_classes=10, filters=(4, 8), convs_per_stage=1)
    tx = make_optimizer("sgd", 0.1, momentum=0.9)
    step = jax.jit(make_train_step(model, tx, average=make_average(equal())))
    states = [create_train_state(model, tx, jax.random.key(0), SHAPE, averaged=True)]
    for k in range(4):
        states.append(step(states[-1], real_batch(32, 32 * k))[0])
    return model, states[1:]


def test_parameters_and_statistics_are_averaged(trained):
    _, states = trained
    for part in ("params", "batch_stats"):
        history = [leaves(getattr(state, part)) for state in states]
        for name, leaf in leaves(states[-1].averaged[part]).items():
            mean = np.mean([each[name] for each in history], axis=0)
            np.testing.assert_allclose(leaf, mean, rtol=1e-5, atol=1e-7, err_msg=name)


def test_the_average_is_what_is_evaluated(trained):
    model, (*_, state) = trained
    step, batch = jax.jit(make_eval_step(model)), real_batch(64, 200)
    mean = state.replace(**state.averaged, averaged=None)
    last = state.replace(averaged=None)
    losses = [float(step(each, batch)["loss"]) for each in (state, mean, last)]
    assert losses[0] == losses[1] != losses[2]


def test_without_an_average_nothing_is_stored():
    model, tx = MODELS["cnn"](num_classes=10, filters=(4,)), make_optimizer("sgd", 0.1)
    state = create_train_state(model, tx, jax.random.key(0), SHAPE)
    assert state.averaged is None
    kinds = [path[0].name for path, _ in jax.tree.leaves_with_path(state)]
    assert set(kinds) == {"step", "params", "batch_stats", "key"}
