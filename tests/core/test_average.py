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
from jaxcnn.core.average import equal, exponential, make_average, rising
from tests.steps import SHAPE, leaves, real_batch

VALUES = np.random.default_rng(0).normal(size=40).astype(np.float32)


FIRST = np.float32(1e6)


def averages(share, values=VALUES, *, start=0, average=None):
    """The average after each of the values, of a state whose first average must not matter."""
    average = average or make_average(share, start)

    def update(averaged, step_and_value):
        step, value = step_and_value
        state = TrainState(step, value, {}, (), None, averaged)
        averaged = average(state).averaged
        return averaged, averaged["params"]

    first = {"params": jnp.float32(FIRST), "batch_stats": {}}
    steps = jnp.arange(1, len(values) + 1)
    return np.asarray(jax.lax.scan(update, first, (steps, values))[1])


def test_equal_weights_give_the_mean():
    means = VALUES.cumsum() / np.arange(1, 41)
    np.testing.assert_allclose(averages(equal()), means, atol=1e-6)


def test_an_exponential_average_forgets_as_it_says():
    expected = [VALUES[0]]
    for count, value in enumerate(VALUES[1:], start=1):
        decay = min(0.7, (1 + count) / (10 + count))
        expected.append(decay * expected[-1] + (1 - decay) * value)
    np.testing.assert_allclose(averages(exponential(0.7)), expected, atol=1e-6)


def test_lookahead_is_the_loop_of_its_paper():
    """Every five updates slow weights and statistics go their way, and training goes on there;
    momentum stays. By hand as in Jordan 2024, with 23 updates, so that the last ones are lost.
    """
    total, random = 23, np.random.default_rng(1)
    gradients, change = random.normal(size=(2, total, 3)).astype(np.float32)
    tx = make_optimizer("sgd", 0.1, momentum=0.8, nesterov=True)
    average = make_average(rising(0.7, total / 5), every=5, lookahead=True)
    first = {"params": jnp.ones(3), "batch_stats": jnp.zeros(3)}
    state = TrainState(jnp.int32(0), **first, opt_state=tx.init(first["params"]), key=None,
                       averaged=first)  # fmt: skip
    params, statistics, trace = np.ones(3), np.zeros(3), np.zeros(3)
    slow = {"params": params, "batch_stats": statistics}
    for k in range(1, total + 1):
        updates, opt_state = tx.update(gradients[k - 1], state.opt_state, state.params)
        state = average(
            state.replace(
                step=state.step + 1,
                params=state.params + updates,
                batch_stats=state.batch_stats + change[k - 1],
                opt_state=opt_state,
            )
        )
        trace = 0.8 * trace + gradients[k - 1]
        params = params - 0.1 * (gradients[k - 1] + 0.8 * trace)
        statistics = statistics + change[k - 1]
        if k % 5 == 0:
            decay = 0.7 * (k / total) ** 3
            now = {"params": params, "batch_stats": statistics}
            slow = {name: decay * slow[name] + (1 - decay) * now[name] for name in slow}
            params, statistics = slow["params"], slow["batch_stats"]
        np.testing.assert_allclose(state.params, params, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(state.batch_stats, statistics, rtol=1e-4, atol=1e-5)
        for name, expected in slow.items():
            np.testing.assert_allclose(state.variables[name], expected, rtol=1e-4, atol=1e-5)
    assert not np.allclose(state.variables["params"], state.params, atol=1e-3)


def test_what_is_between_two_values_is_not_averaged():
    every_third = make_average(exponential(0.7), every=3)
    all_thirds = averages(exponential(0.7), VALUES[2::3])
    found = averages(None, average=every_third)
    np.testing.assert_array_equal(found[2::3], all_thirds)
    np.testing.assert_array_equal(found[3::3], found[2:-1:3])
    np.testing.assert_array_equal(found[:2], VALUES[:2])


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


def test_before_the_first_value_the_average_is_the_model():
    """Which is evaluated until then, and not what the parameters began with."""
    kept = averages(None, average=make_average(exponential(0.7), every=5))
    np.testing.assert_array_equal(kept[:5], VALUES[:5])
    assert kept[5] == kept[8] != kept[9]


def test_a_decay_that_rises_stays_where_the_run_was_to_end():
    share = rising(0.9, total=4)
    assert float(share(jnp.int32(3))) == float(share(jnp.int32(100))) == pytest.approx(0.1)
