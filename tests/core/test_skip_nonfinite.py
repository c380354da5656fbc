"""An update that is not finite is left out; the clocks go on."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from jaxcnn import create_train_state, make_optimizer, make_train_step, skip_nonfinite
from jaxcnn.core.average import exponential, make_average
from jaxcnn.core.state import TrainState
from jaxcnn.runtime.mesh import make_parallel
from tests.steps import SHAPE, build, real_batch

POISONED = 40  # the example that the augmentation below makes NaN
AVERAGE = make_average(exponential(0.9))


def poison(keys, batch):
    del keys
    hit = (batch["index"] == POISONED)[:, None, None, None]
    return batch | {"image": jnp.where(hit, jnp.nan, batch["image"])}


def make(axis_name=None, augment=poison, skip=True, **optimizer):
    """(state, step) of a small model with BatchNorm, momentum and an average."""
    model, *_ = build(axis_name)
    keywords = {"name": "adamw", "learning_rate": 0.01} | optimizer
    tx = make_optimizer(**keywords)
    state = create_train_state(model, tx, jax.random.key(0), SHAPE, averaged=True)
    step = make_train_step(model, tx, augment=augment, axis_name=axis_name, average=AVERAGE)
    return jax.tree.map(jnp.copy, state), skip_nonfinite(step) if skip else step


def named(state):
    state = state.replace(key=jax.random.key_data(state.key))
    flat, _ = jax.tree.flatten_with_path(state)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in flat}


def is_clock(name, leaf):
    return np.issubdtype(leaf.dtype, np.integer) and leaf.ndim == 0


def assert_left_out(before, after):
    """Nothing has changed but the whole-number scalars, which went on by one."""
    before, after = named(before), named(after)
    clocks = [name for name, leaf in after.items() if is_clock(name, leaf)]
    assert ".step" in clocks and len(clocks) > 1
    for name, leaf in after.items():
        expected = before[name] + 1 if name in clocks else before[name]
        np.testing.assert_array_equal(leaf, expected, err_msg=name)


def test_what_is_not_finite_leaves_everything_but_the_clocks_as_it_was():
    state, step = make()
    step = jax.jit(step)
    state, good = step(state, real_batch(32))
    after, bad = step(state, real_batch(32, start=32))
    assert_left_out(state, after)
    assert good["skipped"] == 0 and good["count"] == 32
    assert {name: float(value) for name, value in bad.items()} == {
        "loss": 0, "correct": 0, "count": 0, "skipped": 1
    }  # fmt: skip


def test_without_it_one_image_ruins_the_state():
    """What the other tests leave out is there."""
    state, step = make(skip=False)
    state, metrics = jax.jit(step)(state, real_batch(32, start=32))
    assert np.isnan(metrics["loss"])
    ruined = [name for name, leaf in named(state).items() if np.isnan(leaf).any()]
    assert any("batch_stats" in name for name in ruined)
    assert any("opt_state" in name for name in ruined)


def test_a_finite_update_is_the_one_of_the_plain_step():
    state, step = make()
    _, plain = make(skip=False)
    (one, _), (other, _) = (jax.jit(f)(state, real_batch(32)) for f in (step, plain))
    for name, leaf in named(one).items():
        np.testing.assert_allclose(leaf, named(other)[name], rtol=1e-6, atol=1e-7, err_msg=name)


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_one_example_on_one_of_eight_devices_stops_the_update_on_all(mode):
    parallel = make_parallel(mode, 32, jax.devices())
    state, step = make(parallel.axis_name)
    step = parallel.transform(step, donate=True)
    placed, _ = step(parallel.place_state(state), parallel.place_batch(real_batch(32)))
    # XLA:CPU can hang where copies of what eight devices are still computing are asked for.
    before = jax.tree.map(jnp.copy, parallel.member(jax.block_until_ready(placed), 0))
    placed, metrics = step(placed, parallel.place_batch(real_batch(32, start=32)))
    assert_left_out(before, parallel.member(placed, 0))
    assert parallel.member(metrics, 0)["skipped"] == 1


def test_it_runs_under_shard_map():
    state, step = make("data")
    mesh = Mesh(np.array(jax.devices()), ("data",))
    mapped = jax.shard_map(step, mesh=mesh, in_specs=(P(), P("data")), out_specs=P())
    after, metrics = jax.jit(mapped)(state, real_batch(32, start=32))
    assert_left_out(state, after)
    assert metrics["skipped"] == 1


def test_of_several_members_only_the_one_that_is_not_finite_stays():
    """Under `vmap`, one seed's parameters already infinite."""
    state, step = make(augment=lambda keys, batch: batch)
    broken = state.replace(params=jax.tree.map(lambda leaf: leaf * jnp.inf, state.params))
    both = jax.tree.map(lambda *leaf: jnp.stack(leaf), state, broken)
    after, metrics = jax.jit(jax.vmap(step, in_axes=(0, None)))(both, real_batch(32))
    assert metrics["skipped"].tolist() == [0, 1]
    assert after.step.tolist() == [1, 1]
    assert_left_out(broken, jax.tree.map(lambda leaf: leaf[1], after))


def test_it_scans():
    state, step = make()
    batches = [real_batch(32, start) for start in (0, 32, 64)]
    stacked = jax.tree.map(lambda *leaf: np.stack(leaf), *batches)
    after, metrics = jax.lax.scan(step, state, stacked)
    assert metrics["skipped"].tolist() == [0, 1, 0]
    assert after.step == 3 and all(np.isfinite(leaf).all() for leaf in named(after).values())


def test_an_update_that_overflows_is_left_out_though_loss_and_gradients_are_finite():
    state, step = make(augment=lambda keys, batch: batch, learning_rate=3e38, weight_decay=1.0)
    state = state.replace(params=jax.tree.map(lambda leaf: 10 * leaf, state.params))
    after, metrics = jax.jit(step)(state, real_batch(32))
    assert metrics["skipped"] == 1
    assert_left_out(state, after)


def last_kernel(state):
    return np.asarray([leaf for leaf in jax.tree.leaves(state.params) if leaf.ndim == 2][-1])


def test_the_learning_rate_follows_the_step_not_the_updates_made():
    """SGD whose rate is 0 but at step 2, after an update that was left out at step 1."""
    state, step = make(name="sgd", learning_rate=lambda count: jnp.where(count == 2, 1.0, 0.0))
    step, moved = jax.jit(step), []
    for first in (0, 32, 64, 96):
        before, (state, _) = state, step(state, real_batch(32, first))
        moved.append(bool((last_kernel(state) != last_kernel(before)).any()))
    assert moved == [False, False, True, False]


def test_a_step_left_out_still_counts_among_those_that_make_one_update():
    """Of pairs: the second step of the first pair is left out, and the first one with it."""
    state, step = make(name="sgd", learning_rate=0.1, accumulate=2)
    step, states = jax.jit(step), [state]
    for first in (0, 32, 64, 96):
        states.append(step(states[-1], real_batch(32, first))[0])
    kernels = list(map(last_kernel, states))
    changed = [bool((a != b).any()) for a, b in pairwise(kernels)]
    assert changed == [False, False, False, True]

    emptied = states[2].opt_state._replace(
        acc_grads=jax.tree.map(jnp.zeros_like, states[2].opt_state.acc_grads)
    )
    alone = states[2].replace(opt_state=emptied)
    for first in (64, 96):
        alone, _ = step(alone, real_batch(32, first))
    np.testing.assert_allclose(last_kernel(alone), kernels[-1], rtol=1e-5, atol=1e-6)


NAN = np.nan


@pytest.mark.parametrize(
    ("gradients", "moved"),
    [
        ((9, 9, 9, NAN), 0),
        ((9, 9, 9, NAN, NAN, 0, 0, 0), 0),  # nothing of the update before
        ((8, NAN, 0, 0), -2),  # 8 / 4: what is left out counts as 0
        ((NAN, 4, NAN, 8), -3),
        ((1, 2, 3, 6), -3),
    ],
)
def test_of_a_mean_what_is_left_out_counts_as_nothing(gradients, moved):
    """Four steps make one update, at rate 1."""
    tx = make_optimizer("sgd", 1.0, momentum=0.0, weight_decay=0.0, accumulate=4)
    params = {"w": jnp.zeros(3)}
    state = TrainState(
        step=jnp.zeros((), jnp.int32), params=params, batch_stats={}, opt_state=tx.init(params),
        key=jax.random.key(0),
    )  # fmt: skip

    def step(state, gradient):
        gradients = jax.tree.map(lambda leaf: jnp.full_like(leaf, gradient), state.params)
        updates, opt_state = tx.update(gradients, state.opt_state, state.params)
        params = jax.tree.map(jnp.add, state.params, updates)
        new = state.replace(step=state.step + 1, params=params, opt_state=opt_state)
        return new, {"loss": jnp.zeros(())}

    step = jax.jit(skip_nonfinite(step))
    for gradient in gradients:
        state, _ = step(state, jnp.float32(gradient))
    np.testing.assert_allclose(state.params["w"], moved, rtol=1e-6, atol=1e-7)


def test_adam_goes_on_at_its_scale_after_an_update_left_out():
    state, step = make(learning_rate=0.01, weight_decay=0.0)
    state, metrics = jax.jit(step)(state, real_batch(32, 32))
    assert metrics["skipped"] == 1
    after, _ = jax.jit(step)(state, real_batch(32))
    change = np.abs(last_kernel(after) - last_kernel(state)).max()
    # By hand, where its count is 2 and its moments hold one gradient: 0.1 / 0.19 / sqrt(1 / 2).
    assert change == pytest.approx(0.01 * 0.7443, rel=1e-2)
