"""Promise 3 for the speed recipe as it stands, on real digits, with its network made narrow."""

import itertools

import jax
import numpy as np
import pytest

from jaxcnn.builders.data import build_dataset
from jaxcnn.config.keys import resolve
from jaxcnn.data.splits import describe
from jaxcnn.runtime.mesh import make_parallel
from jaxcnn.training.run import build_run
from tests.processes import ROOT
from tests.steps import leaves
from tests.test_experiments import load


@pytest.fixture(scope="module")
def recipe(cache_dir):
    config = load(ROOT / "experiments" / "cifar10_fast.py").get_config()
    config.data = {"source": "digits", "cache_dir": str(cache_dir), "holdout": 0.0}
    config.model.widths = (6, 8)
    config.batch_size = 256
    config.num_epochs = 2.0
    config = resolve(config)
    return config, build_dataset(config)


def fifth_step(recipe, mode, num_devices, state=None):
    """(state before, state after, loss) of the update that ends with the first slow step, which one
    device has come to unless a state is given.
    """
    config, dataset = recipe
    parallel = make_parallel(mode, config.batch_size, jax.devices()[:num_devices])
    run = build_run([config], dataset, describe(dataset), parallel)
    if state is None:
        fresh = run.make_states[0]()
        placed = parallel.place_state(run.make_states[0](run.from_data(fresh.variables)))
        for batch in itertools.islice(run.train_batches(0), 4):
            placed, _ = run.train_step(placed, batch)
        state = jax.device_get(placed)
    placed = parallel.place_state(jax.tree.map(jax.numpy.copy, state))
    after, metrics = run.train_step(placed, next(run.train_batches(4)))
    after, metrics = jax.device_get(parallel.member((after, metrics), 0))
    return state, after, metrics["loss"]


@pytest.fixture(scope="module")
def alone(recipe):
    return fifth_step(recipe, "jit", 1)


@pytest.mark.parametrize(
    ("mode", "num_devices"), [("jit", 8), pytest.param("pmap", 2, marks=pytest.mark.slow)]
)
def test_a_step_with_all_pieces_gives_on_many_devices_what_it_gives_on_one(
    recipe, alone, mode, num_devices
):
    before, one, one_loss = alone
    _, many, many_loss = fifth_step(recipe, mode, num_devices, before)
    np.testing.assert_allclose(many_loss, one_loss, rtol=1e-5)
    for name, leaf in leaves(many.variables).items():
        expected = leaves(one.variables)[name]
        scale = np.abs(expected).max()
        np.testing.assert_allclose(leaf, expected, rtol=1e-4, atol=1e-5 * scale, err_msg=name)


def test_training_goes_on_from_the_slow_weights_and_statistics_that_are_evaluated(alone):
    before, after, _ = alone
    assert int(after.step) == 5
    for part in ("params", "batch_stats"):
        slow, fast = leaves(after.variables[part]), leaves(getattr(after, part))
        assert all((slow[name] == leaf).all() for name, leaf in fast.items())
        old = leaves(before.variables[part])
        assert any((slow[name] != leaf).any() for name, leaf in old.items())
