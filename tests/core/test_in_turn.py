"""Several steps in one program are the steps one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.core.in_turn import in_turn, last_in_turn
from jaxcnn.runtime.mesh import make_parallel
from tests.steps import build, fresh_state, leaves, real_batch, run_on


@pytest.mark.parametrize("num_devices", [1, 8])
def test_steps_in_turn_are_those_one_by_one_to_nine_digits(num_devices):
    """In float64, dropout and all, state and metrics."""
    with jax.enable_x64(True):
        batches = [real_batch(16, start=16 * k) for k in range(6)]
        start, how = fresh_state(dtype=np.float64, dropout=0.3), {"dropout": 0.3}
        one, history = run_on("jit", num_devices, start, batches, np.float64, **how)
        parallel = make_parallel("jit", 16, jax.devices()[:num_devices])
        *_, train_step, _ = build(None, np.float64, **how)
        steps = parallel.transform(in_turn(train_step), donate=True)
        state, metrics = steps(parallel.place_state(start), parallel.place_batches(batches))
    losses = [entry["loss"] for entry in history]
    assert len(set(map(float, losses))) == 6
    np.testing.assert_allclose(metrics["loss"], losses, rtol=1e-9)
    assert int(state.step) == int(one.step) == 6
    for name, leaf in leaves(state.params).items():
        np.testing.assert_allclose(leaf, leaves(one.params)[name], rtol=1e-9, atol=1e-12)


def test_what_all_steps_have_in_common_is_there_once():
    def step(state, batch):
        state = state + batch["store"][batch["index"]].sum()
        return state, {"loss": state}

    batch = {"store": jnp.arange(10.0), "index": jnp.array([[0, 1], [2, 3], [8, 9]])}
    state, metrics = in_turn(step)(jnp.zeros(()), batch)
    assert float(state) == 23.0 and metrics["loss"].tolist() == [1.0, 6.0, 23.0]
    last = last_in_turn(batch)
    assert last["index"].tolist() == [8, 9] and last["store"].shape == (10,)
