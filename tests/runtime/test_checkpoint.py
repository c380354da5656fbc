"""Checkpoints: what is restored is what was saved, or it is not restored at all."""

import time

import jax
import numpy as np
import pytest

from jaxcnn.errors import UserError
from jaxcnn.runtime.checkpoint import Checkpoints
from jaxcnn.runtime.progress import setup_logging
from tests.several import wait_for
from tests.steps import build, fresh_state, leaves, real_batch

pytestmark = pytest.mark.quick


@pytest.fixture
def state():
    return fresh_state()


@pytest.fixture
def open_checkpoints(tmp_path):
    """Opens the same folder as often as a test asks, as a process that starts anew would."""
    opened = []

    def open_(best_metric="accuracy", gap=0.0):
        opened.append(Checkpoints(tmp_path / "checkpoints", best_metric, gap=gap))
        return opened[-1]

    yield open_
    for checkpoints in opened:
        checkpoints.close()


def save_all(checkpoints, state, accuracies):
    for step, accuracy in accuracies.items():
        metrics = None if accuracy is None else {"accuracy": accuracy, "loss": 1 - accuracy}
        checkpoints.save(step, state.replace(step=jax.numpy.int32(step)), metrics)
    checkpoints.wait()


def kept(tmp_path):
    folder = tmp_path / "checkpoints"
    steps = {int(p.name) for p in folder.iterdir() if p.name.isdigit()}
    assert steps == {int(p.stem) for p in folder.glob("*.sha256") if p.stem.isdigit()}
    return steps


def largest_file(folder):
    return max((p for p in folder.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)


def test_a_restored_state_is_the_saved_one_bit_for_bit(open_checkpoints, state):
    *_, train_step, _ = build()
    state, _ = jax.jit(train_step)(state, real_batch(16))
    save_all(open_checkpoints(), state, {1: 0.5})
    restored, step = open_checkpoints().restore_latest(fresh_state(seed=9))
    assert step == 1
    for part in ("params", "batch_stats", "opt_state"):
        expected = leaves(getattr(state, part))
        for name, leaf in leaves(getattr(restored, part)).items():
            np.testing.assert_array_equal(leaf, expected[name])
    assert (jax.random.key_data(restored.key) == jax.random.key_data(state.key)).all()


def test_training_goes_on_while_a_checkpoint_is_written(open_checkpoints, state):
    """The step donates the state that is being saved: the file must hold the old one."""
    *_, train_step, _ = build()
    step = jax.jit(train_step, donate_argnums=0)
    state, _ = step(state, real_batch(16))
    before = {name: leaf.copy() for name, leaf in leaves(state.params).items()}
    checkpoints = open_checkpoints()
    checkpoints.save(1, state, None)
    for _ in range(5):
        state, _ = step(state, real_batch(16))
    checkpoints.wait()
    restored, _ = open_checkpoints().restore_latest(fresh_state())
    for name, leaf in leaves(restored.params).items():
        np.testing.assert_array_equal(leaf, before[name])


def test_the_latest_two_and_the_best_are_kept(open_checkpoints, state, tmp_path):
    save_all(open_checkpoints(), state, {1: 0.1, 2: 0.9, 3: 0.3, 4: None, 5: 0.5})
    assert kept(tmp_path) == {2, 4, 5}
    assert open_checkpoints().best_step() == 2
    assert open_checkpoints().latest_step() == 5


def test_of_equally_good_checkpoints_the_later_is_the_best(open_checkpoints, state):
    save_all(open_checkpoints(), state, {1: 0.9, 2: 0.9, 3: 0.1})
    assert open_checkpoints().best_step() == 2


def test_a_lower_loss_is_better(open_checkpoints, state):
    save_all(open_checkpoints("loss"), state, {1: 0.1, 2: 0.9, 3: 0.3})
    assert open_checkpoints("loss").best_step() == 2


def test_the_best_survives_a_restart(open_checkpoints, state, tmp_path):
    save_all(open_checkpoints(), state, {1: 0.9})
    save_all(open_checkpoints(), state, {2: 0.1, 3: 0.2, 4: 0.3})
    assert kept(tmp_path) == {1, 3, 4}


def test_between_writes_the_latest_and_the_best_are_held(open_checkpoints, state, tmp_path):
    checkpoints = open_checkpoints(gap=3600)
    save_all(checkpoints, state, {1: 0.1})
    for step, accuracy in {2: 0.9, 3: 0.3, 4: 0.9, 5: 0.2, 6: 0.4}.items():
        checkpoints.save(step, state.replace(step=jax.numpy.int32(step)), {"accuracy": accuracy})
    assert kept(tmp_path) == {1}
    checkpoints.wait()
    assert kept(tmp_path) == {4, 6}
    assert checkpoints.best_step() == 4
    restored, _ = open_checkpoints().restore_best(fresh_state())
    assert restored.step == 4


def test_what_is_held_and_worse_than_the_best_on_disk_is_not_written(
    open_checkpoints, state, tmp_path
):
    checkpoints = open_checkpoints(gap=3600)
    save_all(checkpoints, state, {1: 0.9})
    save_all(checkpoints, state, {2: 0.5, 3: 0.4})
    assert kept(tmp_path) == {1, 3}


def test_what_is_held_is_written_at_the_end(open_checkpoints, state, tmp_path):
    checkpoints = open_checkpoints(gap=3600)
    save_all(checkpoints, state, {1: 0.5})
    checkpoints.save(2, state, None)
    checkpoints.close()
    assert kept(tmp_path) == {1, 2}


def test_after_the_gap_the_next_one_is_written(open_checkpoints, state, tmp_path):
    checkpoints = open_checkpoints(gap=0.01)
    save_all(checkpoints, state, {1: 0.5})
    time.sleep(0.02)
    checkpoints.save(2, state, {"accuracy": 0.6})
    wait_for((tmp_path / "checkpoints" / "2.sha256").exists)


def test_several_runs_of_a_process_save_at_once(state, tmp_path):
    runs = [Checkpoints(tmp_path / f"seed_{n}", "accuracy") for n in range(4)]
    for step in (1, 2):
        for checkpoints in runs:
            checkpoints.save(step, state, {"accuracy": 0.5})
    for checkpoints in runs:
        checkpoints.close()
        assert checkpoints.steps() == [1, 2]


def test_a_checkpoint_without_a_manifest_was_not_finished(open_checkpoints, state, tmp_path):
    save_all(open_checkpoints(), state, {1: 0.5, 2: 0.6})
    (tmp_path / "checkpoints" / "2.sha256").unlink()
    _, step = open_checkpoints().restore_latest(state)
    assert step == 1
    assert kept(tmp_path) == {1}
    assert (tmp_path / "checkpoints" / "unfinished-2").is_dir()


def test_checkpoints_copied_without_their_manifests_are_left_alone(
    open_checkpoints, state, tmp_path
):
    save_all(open_checkpoints(), state, {1: 0.5, 2: 0.6})
    for manifest in (tmp_path / "checkpoints").glob("*.sha256"):
        manifest.unlink()
    for _ in range(2):
        with pytest.raises(UserError, match="have no manifests"):
            open_checkpoints().restore_latest(state)


def test_a_loss_that_is_not_a_number_is_never_the_best(open_checkpoints, state):
    checkpoints = open_checkpoints("loss")
    for step, loss in ((1, 0.5), (2, float("nan"))):
        checkpoints.save(step, state, {"loss": loss})
    checkpoints.wait()
    assert checkpoints.best_step() == 1


@pytest.mark.parametrize("damage", ["a flipped bit", "a truncated file", "a missing file"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(
    damage, open_checkpoints, state, tmp_path, capsys
):
    save_all(open_checkpoints(), state, {1: 0.5, 2: 0.6})
    file = largest_file(tmp_path / "checkpoints" / "2")
    content = bytearray(file.read_bytes())
    if damage == "a flipped bit":
        content[len(content) // 2] ^= 1
        file.write_bytes(content)
    elif damage == "a truncated file":
        file.write_bytes(content[:-1])
    else:
        file.unlink()
    setup_logging()
    _, step = open_checkpoints().restore_latest(state)
    assert step == 1
    told = capsys.readouterr().err
    assert "warning: checkpoint 2 is damaged" in told and file.name in told
    assert (tmp_path / "checkpoints" / "damaged-2").is_dir()
    save_all(open_checkpoints(), state, {2: 0.7})
    assert kept(tmp_path) == {1, 2}


def test_if_all_are_damaged_nothing_is_trained_over_them(open_checkpoints, state, tmp_path):
    save_all(open_checkpoints(), state, {1: 0.5})
    largest_file(tmp_path / "checkpoints" / "1").unlink()
    for _ in range(2):  # nor by starting again
        with pytest.raises(UserError, match="no whole checkpoint is left"):
            open_checkpoints().restore_latest(state)


def test_a_save_that_fails_is_one_line_for_the_user(open_checkpoints, state, tmp_path):
    (tmp_path / "checkpoints").write_text("a file in the way")
    with pytest.raises(UserError, match="the checkpoint could not be written"):
        save_all(open_checkpoints(), state, {1: 0.5})
