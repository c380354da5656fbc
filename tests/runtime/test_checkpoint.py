"""Checkpoints: what is restored is what was saved, or it is not restored at all."""

import time

import jax
import numpy as np
import pytest
from etils import epath

from jaxcnn.errors import UserError
from jaxcnn.runtime.checkpoint import Checkpoints
from jaxcnn.runtime.progress import setup_logging
from tests.saves_nothing import BEFORE
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


# What libraries take for a pattern, a separator, an address; the last is no UTF-8.
NAMES = [
    "exp[v1]",
    "photos [2024]/runs/a",
    "[!a]",
    "star*",
    "who?",
    "a\\b",
    "gs:/b",
    "C:/b",
    "caf\udce9",
]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_folder_of_any_name_gives_back_what_was_saved(name, state, tmp_path):
    folder = tmp_path / name / "checkpoints"
    for step in (1, 2):
        checkpoints = Checkpoints(folder, "accuracy")
        save_all(checkpoints, state, {step: 0.5})
        checkpoints.close()
    assert [path.name for path in tmp_path.iterdir()] == [name.split("/")[0]]
    reader = Checkpoints(folder, "accuracy", read_only=True)
    restored, step = reader.restore_best(fresh_state(seed=9))
    assert step == 2
    jax.tree.map(np.testing.assert_array_equal, reader.restore_variables(1), state.variables)
    jax.tree.map(np.testing.assert_array_equal, restored.params, state.params)
    reader.close()


def test_what_cannot_be_read_back_does_not_count(open_checkpoints, state, tmp_path, monkeypatch):
    """Orbax, which merges what its processes have written, finds nothing to merge."""
    save_all(open_checkpoints(), state, {1: 0.9, 2: 0.1, 3: 0.2})
    glob, checkpoints = type(epath.Path()).glob, open_checkpoints()
    monkeypatch.setattr(type(epath.Path()), "glob", lambda self, pattern: iter(()))
    with pytest.raises(UserError, match="checkpoint 4 was written and cannot be read back") as line:
        save_all(checkpoints, state, {4: 0.95})
    assert "\n" not in str(line.value) and len(str(line.value)) < 700
    monkeypatch.setattr(type(epath.Path()), "glob", glob)
    again = open_checkpoints()
    assert again.steps() == [1, 3] and again.best_step() == 1  # and 4 would have been the best
    assert again.restore_latest(state)[1] == 3
    assert (tmp_path / "checkpoints/unfinished-4").is_dir()


def test_another_array_than_the_one_that_was_saved_does_not_count(
    open_checkpoints, state, monkeypatch
):
    begin = Checkpoints._begin

    def begin_with_another(self, step, parts, metrics):
        begin(self, step, parts | {"key": parts["key"] ^ 1}, metrics)

    monkeypatch.setattr(Checkpoints, "_begin", begin_with_another)
    with pytest.raises(UserError, match=r"cannot be read back \(key is another one\)"):
        save_all(open_checkpoints(), state, {1: 0.5})


def test_a_run_whose_checkpoint_holds_nothing_ends_in_one_line(command, tmp_path):
    flags = ["--config", "experiments/digits.py", "--workdir", tmp_path / "run",
             "--config.num_epochs=4", "--config.model.filters=(4,)", "--config.report.at_end=False",
             "--config.checkpoint_every_epochs=1"]  # fmt: skip
    done = command(*flags, module="tests.saves_nothing", check=2, fresh=True)
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ")
    assert "was written and cannot be read back" in done.stderr.splitlines()[-1]
    whole = [path.stem for path in (tmp_path / "run/checkpoints").glob("*.sha256")]
    assert len(whole) == BEFORE
    assert "resuming" in command(*flags, check=0).stderr
