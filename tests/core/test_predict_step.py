"""Predictions are those of the whole batch in its order, however many devices share it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import make_predict_step
from jaxcnn.runtime.mesh import make_parallel
from tests.steps import build, fresh_state, real_batch


def predict_on(mode, num_devices, batch, dtype=jnp.float32, features=True):
    parallel = make_parallel(mode, len(batch["label"]), jax.devices()[:num_devices])
    model, *_ = build(parallel.axis_name, dtype)
    step = make_predict_step(model, features=features, axis_name=parallel.axis_name)
    state = parallel.place_state(fresh_state())
    done = parallel.transform(step, donate=False)(state, parallel.place_batch(batch))
    return jax.device_get(parallel.member(done, 0))


@pytest.fixture(scope="module")
def alone():
    return predict_on("jit", 1, real_batch(32))


@pytest.mark.parametrize(("mode", "num_devices"), [("jit", 8), ("pmap", 1), ("pmap", 8)])
def test_any_number_of_devices_gives_the_whole_batch_in_its_order(mode, num_devices, alone):
    many = predict_on(mode, num_devices, real_batch(32))
    assert {name: value.shape for name, value in many.items()} == {
        "logits": (32, 10),
        "penultimate": (32, 16),
    }
    for name, value in many.items():
        np.testing.assert_allclose(value, alone[name], rtol=1e-5, atol=1e-6)
    assert len(np.unique(alone["logits"], axis=0)) == 32, "too alike to show an order"


def test_outputs_are_float32_and_features_only_where_asked_for(alone):
    half = predict_on("jit", 1, real_batch(32), jnp.bfloat16)
    assert {value.dtype for value in half.values()} == {np.dtype(np.float32)}
    plain = predict_on("jit", 1, real_batch(32), features=False)
    assert plain.keys() == {"logits"}
    np.testing.assert_array_equal(plain["logits"], alone["logits"])


def test_only_images_are_needed(alone):
    model, *_ = build()
    batch = {"image": real_batch(32)["image"]}
    logits = jax.jit(make_predict_step(model))(fresh_state(), batch)["logits"]
    np.testing.assert_allclose(logits, alone["logits"], rtol=1e-5, atol=1e-6)
