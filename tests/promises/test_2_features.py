"""Promises 2 and 3 for what an optimiser can be asked for beside its name.

A kill is a checkpoint restored in this process: what a step needs is in the state, or it is lost.
"""

import jax
import numpy as np
import pytest

from jaxcnn import MODELS, Rule, create_train_state, make_optimizer, make_train_step
from jaxcnn.core.average import exponential, make_average, rising
from jaxcnn.core.optim import SCHEDULES
from jaxcnn.runtime.checkpoint import Checkpoints
from jaxcnn.runtime.mesh import make_parallel
from jaxcnn.training.first_state import state_shapes
from tests.steps import SHAPE, leaves, real_batch

RULES = (
    Rule("(Conv|BatchNorm)_0", frozen=True, freeze_statistics=True),
    Rule("Conv_1", learning_rate=0.5, frozen=5),  # thaws after the checkpoint of step 4
    Rule("rest"),
)
FEATURES = {
    "rules and average": {"rules": RULES, "average": make_average(exponential(0.9))},
    # The checkpoint of step 4 is in the midst of an update, and of a lookahead.
    "accumulation and lookahead": {"accumulate": 3, "lookahead_steps": 2},
    # Training went on from the average of step 3, and the checkpoint lies between two.
    "lookahead of an average": {
        "rules": (Rule("BatchNorm", learning_rate=64.0, weight_decay=1 / 64), Rule("rest")),
        "decay_biases": True,
        "average": make_average(rising(0.8, 7 / 3), every=3, lookahead=True),
    },
    "all": {
        "rules": RULES,
        "average": make_average(exponential(0.9), start=1),
        "accumulate": 2,
        "lookahead_steps": 2,
        "clip_value": 1.0,
        "clip_adaptive": 0.1,
        "clip_norm": 1.0,
    },
}
STEPS = 7


def built(feature, axis_name=None):
    """(what makes the first state, train step)"""
    keywords = {"name": "sgd", "momentum": 0.9} | FEATURES[feature]
    average, rules = keywords.pop("average", None), keywords.get("rules", ())
    model = MODELS["cnn"](num_classes=10, filters=(4, 8), convs_per_stage=1, axis_name=axis_name)
    schedule = SCHEDULES["cosine"](0.05, STEPS)
    tx = make_optimizer(learning_rate=schedule, weight_decay=1e-3, **keywords)
    step = make_train_step(model, tx, axis_name=axis_name, rules=rules, average=average)
    whole = MODELS["cnn"](num_classes=10, filters=(4, 8), convs_per_stage=1)

    def make_state():
        return create_train_state(whole, tx, jax.random.key(0), SHAPE, averaged=average is not None)

    return make_state, step


def arrays(state):
    return leaves(state.replace(key=jax.random.key_data(state.key)))


@pytest.mark.parametrize("feature", [name for name in FEATURES if name != "all"])
def test_a_run_that_is_restored_ends_in_the_same_bits(feature, tmp_path):
    make_state, train_step = built(feature)
    step = jax.jit(train_step)
    batches = [real_batch(16, 16 * k) for k in range(STEPS)]
    state = jax.jit(make_state)()
    checkpoints = Checkpoints(tmp_path / "checkpoints", "loss")
    for k, batch in enumerate(batches, start=1):
        state, _ = step(state, batch)
        if k == 4:
            checkpoints.save(4, state, {"loss": 1.0})
            checkpoints.wait()
    resumed, start = checkpoints.restore_latest(state_shapes(make_state))
    checkpoints.close()
    for batch in batches[start:]:
        resumed, _ = step(resumed, batch)
    expected = arrays(state)
    for name, leaf in arrays(resumed).items():
        np.testing.assert_array_equal(leaf, expected[name], err_msg=name)


@pytest.mark.parametrize(
    ("mode", "feature"), [("jit", "all"), ("pmap", "all"), ("jit", "lookahead of an average")]
)
def test_one_step_on_eight_devices_gives_what_it_gives_on_one(mode, feature):
    """With everything on, from a state whose next step is an update of what has thawed."""
    make_state, train_step = built(feature)
    state, one = jax.jit(make_state)(), jax.jit(train_step)
    for k in range(5):
        state, _ = one(state, real_batch(16, 16 * k))
    batch = real_batch(16, 16 * 5)
    expected = arrays(one(state, batch)[0])
    parallel = make_parallel(mode, 16, jax.devices())
    step = parallel.transform(built(feature, parallel.axis_name)[1], donate=True)
    placed = parallel.place_state(jax.tree.map(jax.numpy.copy, state))
    found = arrays(parallel.member(step(placed, parallel.place_batch(batch))[0], 0))
    for name, leaf in found.items():
        scale = np.abs(expected[name]).max()
        np.testing.assert_allclose(leaf, expected[name], rtol=1e-4, atol=1e-5 * scale, err_msg=name)
