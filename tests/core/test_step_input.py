"""What steps take beside the batch; several steps in one program are the steps one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.core.step_wrappers import (
    StepInput,
    last_of_scan,
    scan_steps,
    with_input,
    with_signal,
    with_values,
)
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
        steps = parallel.transform(scan_steps(with_input(train_step)), donate=True)
        placed = parallel.place_batches(list(map(StepInput, batches)))
        state, metrics = steps(parallel.place_state(start), placed)
    losses = [entry["loss"] for entry in history]
    assert len(set(map(float, losses))) == 6
    np.testing.assert_allclose(metrics["loss"], losses, rtol=1e-9)
    assert int(state.step) == int(one.step) == 6
    for name, leaf in leaves(state.params).items():
        np.testing.assert_allclose(leaf, leaves(one.params)[name], rtol=1e-9, atol=1e-12)


def test_what_all_steps_have_in_common_is_there_once():
    def step(state, batch):
        state = state + batch["image"].sum()
        return state, {"loss": state}

    index = jnp.array([[0, 1], [2, 3], [8, 9]])
    inputs = StepInput({"index": index}, store=jnp.arange(10.0))
    state, metrics = scan_steps(with_input(step))(jnp.zeros(()), inputs)
    assert float(state) == 23.0 and metrics["loss"].tolist() == [1.0, 6.0, 23.0]
    last = last_of_scan(inputs)
    assert last.batch["index"].tolist() == [8, 9] and last.store.shape == (10,)


def test_the_step_sees_its_batch_alone_and_the_metrics_have_the_largest_signal():
    seen = []

    def step(state, batch):
        seen.append(sorted(batch))
        return state, {}

    wrapped = with_signal(with_values(lambda values: step), None)
    inputs = StepInput({"index": jnp.arange(2)}, jnp.zeros((4, 1)), {"peak": jnp.ones(())})
    assert wrapped(0, inputs) == (0, {})
    _, metrics = wrapped(0, inputs._replace(signal=jnp.array([0, 15, 2])))
    assert int(metrics["signal"]) == 15 and seen == [["image", "index"]] * 2
