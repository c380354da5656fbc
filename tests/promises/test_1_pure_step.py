"""Promise 1: a step is a pure function, the same one under every transformation."""

import ast
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

import jaxcnn
from tests.steps import build, fresh_state, leaves, real_batch, run_on

pytestmark = pytest.mark.quick

BATCH = 32


@pytest.fixture(scope="module")
def reference():
    """The state and metrics after one plain `jit` step."""
    *_, train_step, _ = build()
    state, metrics = jax.jit(train_step)(fresh_state(), real_batch(BATCH))
    return leaves(state.params), metrics


def assert_same(state, metrics, reference):
    params, expected = reference
    np.testing.assert_allclose(metrics["loss"], expected["loss"], rtol=1e-5)
    assert metrics["correct"] == expected["correct"]
    for name, leaf in leaves(state.params).items():
        np.testing.assert_allclose(leaf, params[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_a_step_without_jit_gives_what_jit_gives(reference):
    *_, train_step, _ = build()
    assert_same(*train_step(fresh_state(), real_batch(BATCH)), reference)


def test_a_step_changes_none_of_its_arguments():
    *_, train_step, _ = build()
    state, batch = fresh_state(), real_batch(BATCH)
    before = leaves(state.params), {k: v.copy() for k, v in batch.items()}
    first, _ = train_step(state, batch)
    second, _ = train_step(state, batch)
    assert leaves(state.params).keys() == before[0].keys()
    for name, leaf in leaves(state.params).items():
        np.testing.assert_array_equal(leaf, before[0][name])
    for name in batch:
        np.testing.assert_array_equal(batch[name], before[1][name])
    for name, leaf in leaves(first.params).items():
        np.testing.assert_array_equal(leaf, leaves(second.params)[name])


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_a_step_is_the_same_under_sharded_jit_and_pmap(mode, reference):
    """Other numbers of devices: promise 3."""
    state, history = run_on(mode, 8, fresh_state(), [real_batch(BATCH)])
    assert_same(state, history[0], reference)


@pytest.mark.parametrize("keywords", [{}, {"check_vma": False}])
def test_a_step_is_the_same_under_shard_map(keywords, reference):
    *_, train_step, _ = build(axis_name="data")
    mesh = Mesh(np.array(jax.devices()), ("data",))
    mapped = jax.shard_map(
        train_step, mesh=mesh, in_specs=(P(), P("data")), out_specs=P(), **keywords
    )
    assert_same(*jax.jit(mapped)(fresh_state(), real_batch(BATCH)), reference)


def test_a_step_vmaps_over_seeds(reference):
    *_, train_step, _ = build()
    states = jax.tree.map(lambda *leaf: jnp.stack(leaf), fresh_state(0), fresh_state(1))
    states, metrics = jax.jit(jax.vmap(train_step, in_axes=(0, None)))(states, real_batch(BATCH))
    first = jax.tree.map(lambda leaf: leaf[0], (states, metrics))
    assert_same(*first, reference)
    assert metrics["loss"][0] != metrics["loss"][1]


def test_a_step_scans_over_batches():
    *_, train_step, _ = build()
    batches = [real_batch(BATCH, start) for start in (0, 32, 64)]
    stacked = jax.tree.map(lambda *leaf: np.stack(leaf), *batches)
    scanned, metrics = jax.lax.scan(train_step, fresh_state(), stacked)
    looped, history = run_on("jit", 1, fresh_state(), batches)
    assert int(scanned.step) == int(looped.step) == 3
    losses = [entry["loss"] for entry in history]
    np.testing.assert_allclose(metrics["loss"], losses, rtol=1e-4)


def test_padding_changes_neither_loss_nor_gradient():
    """Without batch statistics, which see every image, a masked example might as well be absent."""
    from jaxcnn import MODELS, create_train_state, make_optimizer, make_train_step

    model = MODELS["cnn"](num_classes=10, filters=(8,), norm="layer")
    tx = make_optimizer("sgd", 0.1)
    state = create_train_state(model, tx, jax.random.key(0), (8, 8, 1))
    step = jax.jit(make_train_step(model, tx))
    small, padded = real_batch(24), real_batch(32)
    padded["mask"][24:] = False
    padded["image"][24:] = 255
    (one, one_metrics), (other, other_metrics) = step(state, small), step(state, padded)
    np.testing.assert_allclose(one_metrics["loss"], other_metrics["loss"], rtol=1e-6)
    assert one_metrics["count"] == other_metrics["count"] == 24
    for name, leaf in leaves(one.params).items():
        np.testing.assert_allclose(leaf, leaves(other.params)[name], rtol=1e-5, atol=1e-7)


def test_core_imports_nothing_that_could_make_a_step_impure():
    allowed = {
        "jax",
        "flax",
        "optax",
        "numpy",
        "collections",
        "functools",
        "math",
        "typing",
        "inspect",
        "re",
    }
    for file in (Path(jaxcnn.__file__).parent / "core").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module]
            for name in names:
                inside = name.startswith("jaxcnn.core")
                assert inside or name.split(".")[0] in allowed, f"{file.name} imports {name}"
