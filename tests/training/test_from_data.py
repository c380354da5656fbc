"""What a model takes from the training images: once, a function of the data alone, and kept."""

import jax
import numpy as np
import pytest

from jaxcnn.builders.data import build_dataset
from jaxcnn.config.keys import resolve
from jaxcnn.core.augment import normalize
from jaxcnn.core.models.airbench import whitening_weights
from jaxcnn.data.pipeline import sample_images
from jaxcnn.data.splits import describe
from jaxcnn.runtime.checkpoint import Checkpoints
from jaxcnn.runtime.mesh import make_parallel
from jaxcnn.training.first_state import first_state
from jaxcnn.training.run import build_run


@pytest.fixture
def airbench(digits):
    digits.model = {"name": "airbench94", "widths": (4, 5)}
    return digits


def begin(config, workdir, devices=1, mode="jit"):
    """(run, its first state on one device, its checkpoints)"""
    config = resolve(config)
    dataset = build_dataset(config)
    parallel = make_parallel(mode, config.batch_size, jax.devices()[:devices])
    run = build_run([config], dataset, describe(dataset), parallel)
    checkpoints = Checkpoints(workdir / "checkpoints", config.best_metric)
    begin_with = lambda fresh: (fresh, None)  # noqa: E731
    state, *_ = first_state(run.make_states[0], run.from_data, checkpoints, begin_with)
    return run, jax.device_get(state), checkpoints


def kernel(state):
    return state.batch_stats["whitening"]["kernel"]


def test_a_run_begins_with_the_whitening_of_its_training_images(airbench, tmp_path):
    run, state, checkpoints = begin(airbench, tmp_path)
    checkpoints.close()
    split, facts = run.dataset.splits["train"], describe(run.dataset)
    images = normalize(split.images.image[split.rows], mean=facts["mean"], std=facts["std"])
    np.testing.assert_array_equal(kernel(state), whitening_weights(np.asarray(images)))


@pytest.mark.parametrize(
    ("devices", "mode", "keywords"),
    [(8, "jit", {}), (2, "pmap", {}), (1, "jit", {"seed": 1}), (1, "jit", {"mode": "stream"})],
    ids=str,
)
def test_it_depends_on_the_data_alone(airbench, tmp_path, devices, mode, keywords):
    _, expected, checkpoints = begin(airbench, tmp_path / "one")
    checkpoints.close()
    airbench.seed = keywords.get("seed", 0)
    airbench.data.mode = keywords.get("mode", "memory")
    _, state, checkpoints = begin(airbench, tmp_path / "other", devices, mode)
    checkpoints.close()
    np.testing.assert_array_equal(kernel(state), kernel(expected))


def test_a_resumed_run_has_it_from_its_checkpoint(airbench, tmp_path):
    run, state, checkpoints = begin(airbench, tmp_path)
    stats = {**state.batch_stats, "whitening": {"kernel": kernel(state) + 1}}
    checkpoints.save(1, run.parallel.place_state(state.replace(batch_stats=stats)), None)
    checkpoints.close()
    _, resumed, checkpoints = begin(airbench, tmp_path)
    checkpoints.close()
    np.testing.assert_array_equal(kernel(resumed), kernel(state) + 1)


def test_a_sample_is_spread_over_the_split_and_has_so_many_pixels(airbench):
    split = build_dataset(resolve(airbench)).splits["train"]
    few = sample_images(split, pixels=64 * 10 + 63)
    assert few.shape == (10, 8, 8, 1)
    np.testing.assert_array_equal(few[[0, -1]], split.images.image[split.rows[[0, -1]]])
    assert len(np.unique(few, axis=0)) == 10
    everything = sample_images(split)
    np.testing.assert_array_equal(everything, split.images.image[split.rows])
    assert len(sample_images(split, pixels=1)) == 1
