"""Trials and their folders: whose they are, who goes on with them, which one is the best."""

import math
import shutil
import threading

import pytest
from optuna.distributions import IntDistribution

from jaxcnn.config.keys import resolve
from jaxcnn.errors import UserError
from jaxcnn.search.results import read_study, why_none_is_best
from jaxcnn.search.sampler import make_pruner, make_sampler
from jaxcnn.search.study import open_storage, open_study
from jaxcnn.search.trials import config_of_trial, delete_checkpoints, start_trials, trials_of_others
from tests.configs import given

CONFIG = resolve(given())
RANGES = {"seed": IntDistribution(0, 9)}


def opened(workdir, url=None, grid=None):
    (workdir / "trials").mkdir(parents=True, exist_ok=True)
    return open_study(url, workdir, CONFIG, RANGES, make_pruner("none", 1), grid)


def begin(study, limit=9, count=1):
    def configure(trial):
        return resolve(given(seed=trial.suggest_int("seed", 0, 9)))

    def sampler(number):
        return make_sampler("random", 0, RANGES, number)

    return start_trials(study, configure, sampler, limit, count)


def test_a_new_trial_takes_no_folder_that_holds_a_run(tmp_path):
    folder = tmp_path / "trials/0"
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"step": 1, "split": "validation", "accuracy": 1}\n')
    study = opened(tmp_path)
    with pytest.raises(UserError, match="trials/0: holds trials of another study; give a new"):
        begin(study)
    assert not study.trials()


def test_what_a_trial_that_goes_on_has_behind_it_is_known(tmp_path):
    (one,) = begin(opened(tmp_path))
    one.seconds = 3.0
    one.note(1, 0.5)
    one.release()
    (one.folder / "metrics.jsonl").write_text(
        '{"step": 1, "split": "validation", "accuracy": 0.5}\n{"step": 2, "split": "valid'
    )
    (again,) = begin(opened(tmp_path))
    assert (again.number, again.history, again.seconds) == (0, {1: 0.5}, 3.0)
    again.release()


@pytest.mark.parametrize("elsewhere", [False, True], ids=["journal", "database"])
@pytest.mark.parametrize("how", [shutil.move, shutil.copytree])
def test_a_study_is_found_under_another_name_of_its_folder(elsewhere, how, tmp_path, caplog):
    url = f"sqlite:///{tmp_path}/x.db" if elsewhere else None
    (one,) = begin(opened(tmp_path / "a", url))
    one.release()
    how(tmp_path / "a", tmp_path / "b")
    study = opened(tmp_path / "b", url)
    assert study.optuna.study_name == "a" and len(study.trials()) == 1
    (next_one,) = begin(study)
    # Of a copy it is not known whether somebody is at work in the original.
    assert next_one.number == (1 if elsewhere and how is shutil.copytree else 0)
    next_one.release()


def test_a_machine_of_another_name_goes_on_with_what_is_in_the_folder(tmp_path, monkeypatch):
    (one,) = begin(opened(tmp_path))
    one.release()
    monkeypatch.setattr("platform.node", lambda: "another")
    (again,) = begin(opened(tmp_path))
    assert again.number == 0
    again.release()


def test_trials_that_wait_for_another_folder_are_named(tmp_path, caplog):
    url = f"sqlite:///{tmp_path}/x.db"
    (one,) = begin(opened(tmp_path / "here/a", url))
    one.trial.set_user_attr("host", "h7")
    study = opened(tmp_path / "there/a", url)
    assert trials_of_others(study) == []
    assert caplog.messages[-1].endswith("only where they were begun: trials 0 on h7")
    one.release()


def test_the_config_of_a_winner_is_the_one_it_was_trained_with(tmp_path):
    """Also where search() asks for more than parameters, such as the trial's number."""
    study = opened(tmp_path)

    def configure(trial):
        return resolve(given(batch_size=16 + trial.number, data__cache_dir="then"))

    def sampler(number):
        return make_sampler("random", 0, RANGES, number)

    for one in start_trials(study, configure, sampler, 3, 3):
        one.release()
    config = config_of_trial(study, 2, resolve(given(data__cache_dir="now")))
    assert (config.batch_size, config.data.cache_dir) == (18, "now")


def test_a_grid_keeps_its_order(tmp_path):
    opened(tmp_path, grid=1)
    opened(tmp_path, grid=1)
    for grid, told in ((2, "grid with --seed=2"), (None, "another than grid")):
        with pytest.raises(UserError, match=f"--sampler was 'grid with --seed=1', is '{told}'"):
            opened(tmp_path, grid=grid)


def test_a_grid_with_more_trials_than_points_begins_again():
    points = [make_sampler("grid", 0, RANGES, number)._fixed_params for number in (3, 13)]
    assert points[0] == points[1]


def test_only_the_best_keeps_its_checkpoints(tmp_path):
    study = opened(tmp_path)
    begun = begin(study, count=3)
    for one, value in zip(begun, (0.5, 0.9, 0.9), strict=True):
        (one.folder / "checkpoints").mkdir()
        one.note(1, value)
        one.end("complete")
        one.release()
    assert study.best().number == 1
    delete_checkpoints(study)
    assert [path.parent.name for path in tmp_path.glob("trials/*/checkpoints")] == ["1"]


def test_a_journal_that_a_worker_is_writing_is_not_cut(tmp_path):
    """A line that is not whole is cut off when nobody holds Optuna's lock on the journal."""
    opened(tmp_path)
    journal = tmp_path / "study.journal"
    whole = journal.read_bytes()
    with journal.open("ab") as file:
        file.write(b'{"op_code": 8, ')
    lock = tmp_path / "study.journal.lock"
    lock.symlink_to(journal)
    worker = threading.Thread(target=open_storage, args=(None, tmp_path))
    worker.start()
    worker.join(0.5)
    assert worker.is_alive() and len(journal.read_bytes()) > len(whole)
    lock.unlink()
    worker.join(60)
    assert journal.read_bytes() == whole


def test_trials_that_ended_with_an_infinite_loss_are_none_to_choose_from(tmp_path):
    (one,) = begin(study := opened(tmp_path))
    one.note(1, math.inf)
    one.end("complete")
    one.release()
    search = read_study(study, "loss", "plain")
    assert search.best is None and search.trials[0].value == math.inf
    reason = why_none_is_best(search)
    assert reason.startswith("no complete trial has a finite loss on validation (1 complete)")
    assert why_none_is_best(search._replace(trials=[])).startswith(
        "no trial is complete (none has begun)"
    )
