"""Promise 3: the number of devices is not a hyperparameter."""

import json
import signal

import jax
import numpy as np
import pytest

from jaxcnn import MODELS, create_train_state, make_optimizer, make_train_step
from jaxcnn.runtime.checkpoint import Checkpoints
from jaxcnn.runtime.mesh import one_copy_sharding
from tests import processes
from tests.processes import command_line
from tests.several import wait_for
from tests.steps import AUGMENT, SHAPE, fresh_state, leaves, real_batch, run_on


@pytest.fixture(scope="module")
def one_step():
    """(state, [metrics]) on one device."""
    return run_on("jit", 1, fresh_state(), [real_batch(32)])


@pytest.mark.parametrize(
    ("mode", "num_devices"), [("jit", 2), ("jit", 8), ("pmap", 2), ("pmap", 8)]
)
def test_one_step_from_one_state_agrees_to_five_digits(mode, num_devices, one_step):
    """In loss and in every gradient, here the change of a parameter under plain SGD."""
    one, (one_metrics,) = one_step
    many, (many_metrics,) = run_on(mode, num_devices, fresh_state(), [real_batch(32)])
    np.testing.assert_allclose(many_metrics["loss"], one_metrics["loss"], rtol=1e-5)
    assert many_metrics["count"] == one_metrics["count"] == 32
    traces = [jax.tree.leaves(state.opt_state) for state in (one, many)]
    assert len(traces[0]) == len(traces[1]) > 0
    for a, b in zip(*traces, strict=True):  # the momentum after one step is the gradient
        scale = np.abs(np.asarray(a)).max()
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5 * scale)
    for name, leaf in leaves(many.batch_stats).items():
        np.testing.assert_allclose(leaf, leaves(one.batch_stats)[name], rtol=1e-5, atol=1e-7)


def fifty_losses(mode, num_devices):
    """float64[50]"""
    with jax.enable_x64(True):
        batches = [real_batch(32, start=20 * k) for k in range(50)]
        start = fresh_state(dtype=np.float64)
        _, history = run_on(mode, num_devices, start, batches, dtype=np.float64)
    return np.array([entry["loss"] for entry in history])


def test_fifty_steps_in_float64_agree_to_nine_digits():
    losses = fifty_losses("jit", 1)
    assert losses.dtype == np.float64
    assert losses[-1] < 0.8 * losses[0], "nothing was learned: too easy a comparison"
    for mode in ("jit", "pmap"):
        np.testing.assert_allclose(fifty_losses(mode, 8), losses, rtol=1e-9, err_msg=mode)


def test_an_example_is_augmented_alike_wherever_it_stands_in_the_batch():
    """The step's loss is a sum over examples: their order must not matter, augmentation included.

    Layer norm sees one image at a time, so nothing else could make a difference.
    """
    model = MODELS["cnn"](num_classes=10, filters=(8,), norm="layer")
    tx = make_optimizer("sgd", 0.1)
    state = create_train_state(model, tx, jax.random.key(0), SHAPE)
    step = jax.jit(make_train_step(model, tx, augment=AUGMENT))
    batch, order = real_batch(32), np.random.default_rng(0).permutation(32)
    shuffled = {name: value[order] for name, value in batch.items()}
    elsewhere = batch | {"index": batch["index"] + 1000}
    losses = [step(state, given)[1]["loss"] for given in (batch, shuffled, elsewhere)]
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-6)
    assert not np.isclose(losses[2], losses[0], rtol=1e-6), "augmentation ignores the index"


def test_dropout_draws_anew_on_each_device_under_pmap():
    """Eight devices with the same image: were their masks the same, so would be their losses."""
    eight = {name: np.repeat(value, 8, 0) for name, value in real_batch(1).items()}
    state = fresh_state(dropout=0.5)
    _, (alone,) = run_on("pmap", 1, state, [real_batch(1)], dropout=0.5)
    _, (together,) = run_on("pmap", 8, state, [eight], dropout=0.5)
    assert not np.isclose(together["loss"], 8 * alone["loss"], rtol=1e-3)


def test_dropout_under_jit_does_not_depend_on_devices():
    state = fresh_state(dropout=0.5)
    losses = [
        run_on("jit", count, state, [real_batch(32)], dropout=0.5)[1][0]["loss"] for count in (1, 8)
    ]
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-5)


def test_a_run_goes_on_with_other_devices_and_under_pmap(tmp_path):
    """Fifty steps in float64 with three restarts, each from a checkpoint, agree to nine digits."""
    losses = fifty_losses("jit", 1)
    found = []
    with jax.enable_x64(True):
        state = fresh_state(dtype=np.float64)
        for mode, num_devices, steps in (
            ("jit", 8, range(15)),
            ("jit", 2, range(15, 30)),
            ("pmap", 8, range(30, 40)),
            ("pmap", 1, range(40, 50)),
        ):
            batches = [real_batch(32, start=20 * k) for k in steps]
            state, history = run_on(mode, num_devices, state, batches, dtype=np.float64)
            found += [entry["loss"] for entry in history]
            checkpoints = Checkpoints(tmp_path / "checkpoints", "accuracy")
            checkpoints.save(steps.stop, state, None)
            checkpoints.wait()
            state, step = checkpoints.restore_latest(one_copy_of(fresh_state(dtype=np.float64)))
            checkpoints.close()
            assert step == int(state.step) == steps.stop
    np.testing.assert_allclose(found, losses, rtol=1e-9)


def one_copy_of(state):
    """What a state is restored to."""
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=one_copy_sharding()),
        state,
    )


@pytest.mark.slow
def test_a_stopped_run_resumes_on_other_devices(tmp_path, cache_dir):
    """8 devices, then 2, then 1 under pmap, by commands; what is evaluated then is the same run."""
    line = command_line(
        "--config", "experiments/digits.py", "--config.model.filters=(8,)",
        "--config.num_epochs=3", "--config.log_every_steps=1", "--config.model.convs_per_stage=1",
        "--config.model.dropout=0.0", "--workdir", tmp_path / "run", cache_dir=cache_dir,
    )  # fmt: skip

    def lines(folder):
        path = folder / "metrics.jsonl"
        found = map(json.loads, path.read_text().splitlines() if path.exists() else [])
        return {line["step"]: line["loss"] for line in found if line["split"] == "train"}

    saved = []
    for mode, devices in (("jit", 8), ("jit", 2)):
        process = processes.start([*line, f"--config.parallel.mode={mode}"], devices)
        enough = 10 + max(saved, default=0)
        wait_for(lambda: max(lines(tmp_path / "run"), default=0) > enough)  # noqa: B023
        process.send_signal(signal.SIGTERM)
        code, _, log = processes.finish(process)
        assert code == 143, log
        saved.append(max(lines(tmp_path / "run")))
    code, _, log = processes.finish(processes.start([*line, "--config.parallel.mode=pmap"], 1))
    assert code == 0 and f"resuming from step {saved[-1]} of" in log, log
    assert "config.parallel.mode was 'jit', is 'pmap' now" in log

    alone = [word.replace("/run", "/alone") for word in line]
    assert processes.finish(processes.start(alone, 1))[0] == 0
    found, expected = lines(tmp_path / "run"), lines(tmp_path / "alone")
    assert list(found) == list(expected) == list(range(1, 62))
    # In float32 rounding grows: these are few steps, of one small net.
    np.testing.assert_allclose([*found.values()], [*expected.values()], rtol=1e-2)
