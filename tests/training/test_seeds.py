"""`--seeds`: the same recipe several times, and how sure its numbers are."""

import json

import jax
import numpy as np
import pytest
from scipy import stats

from jaxcnn.config.keys import resolve
from jaxcnn.errors import UserError
from jaxcnn.training.loop import Training
from jaxcnn.training.seeds import train_seeds

SMALL = (
    "--config=experiments/digits.py",
    "--config.num_steps=8",
    "--config.model.filters=(8,)",
    "--config.eval_every_steps=4",
    "--config.checkpoint_every_steps=4",
)


def content(file):
    return json.loads(file.read_text())


@pytest.fixture(scope="module")
def three(cache_dir, tmp_path_factory):
    """The directory of three seeds, with a report, and what `train_seeds` gave."""
    from tests.conftest import small_digits

    config = small_digits(cache_dir)
    config.report.at_end = True
    config.report.resamples = 100
    workdir = tmp_path_factory.mktemp("seeds") / "runs"
    return workdir, config, train_seeds(config, workdir, 3)


def test_eval_json_holds_mean_deviation_and_interval_of_what_the_seeds_reached(three):
    workdir, _, returned = three
    found = content(workdir / "eval.json")
    assert found == returned
    assert found["seeds"] == [0, 1, 2]
    of_seeds = [content(workdir / f"seed_{seed}" / "eval.json") for seed in found["seeds"]]
    assert len({one["loss"] for one in of_seeds}) == 3
    for name in ("accuracy", "loss", "f1_macro"):
        values = [one[name] for one in of_seeds]
        assert found[name] == pytest.approx(np.mean(values))
        assert found["std"][name] == pytest.approx(np.std(values, ddof=1))
        half = stats.t.ppf(0.975, df=2) * np.std(values, ddof=1) / np.sqrt(3)
        assert found["ci95"][name] == pytest.approx(
            [np.mean(values) - half, np.mean(values) + half]
        )


def test_each_seed_is_a_run_of_its_own(three):
    workdir, *_ = three
    for seed in range(3):
        run = workdir / f"seed_{seed}"
        assert content(run / "config.json")["seed"] == seed
        assert (run / "report" / "report.html").is_file()
    page = (workdir / "report" / "report.html").read_text()
    assert "seed_2/report/report.html" in page


def test_more_seeds_later_leave_the_finished_ones_as_they_are(three):
    workdir, config, before = three
    times = {p: p.stat().st_mtime_ns for p in workdir.glob("seed_*/eval.json")}
    found = train_seeds(config, workdir, 4)
    assert found["seeds"] == [0, 1, 2, 3]
    assert {p: p.stat().st_mtime_ns for p in times} == times
    assert train_seeds(config, workdir, 3) == before


def test_a_seed_that_fails_is_named_when_the_others_are_done(digits, tmp_path):
    """Seed 1 was begun before, and its checkpoint holds parameters that are no numbers."""
    digits.seed, digits.eval_every_steps, digits.checkpoint_every_steps = 1, 4, 4
    run = tmp_path / "runs" / "seed_1"
    run.mkdir(parents=True)
    with Training([resolve(digits)], [run], tensorboard=False) as training:
        for step, _ in training:
            if step == 4:
                break
        state = training.state.replace(
            params=jax.tree.map(lambda p: p * np.nan, training.state.params)
        )
        training.members[0].checkpoints.save(5, state, {"accuracy": 0.0})
    digits.seed = 0
    with pytest.raises(UserError) as error:
        train_seeds(digits, tmp_path / "runs", 3)
    assert str(error.value).startswith("seed 1: loss is nan at step 6 (learning rate ")
    assert str(error.value).endswith(" (1 of 3 seeds failed; the others are finished)")
    assert not (tmp_path / "runs" / "eval.json").exists()
    assert (tmp_path / "runs" / "seed_2" / "eval.json").is_file()


def test_one_seed_has_no_interval(digits, tmp_path):
    found = train_seeds(digits, tmp_path / "runs", 1)
    assert (found["std"]["accuracy"], found["ci95"]["accuracy"]) == (None, None)


def test_mistakes_are_one_line(command, tmp_path, workdir):
    runs = tmp_path / "runs"
    done = command(*SMALL, "--workdir", runs, "--seeds=0", check=2)
    assert done.stderr.splitlines()[-1] == "error: --seeds=0: expected a number of seeds, from 1"
    assert not runs.exists()
    (runs / "seed_0").mkdir(parents=True)
    (runs / "seed_1").mkdir()
    done = command(*SMALL, "--workdir", runs, check=2)
    assert done.stderr.splitlines()[-1] == (
        f"error: --workdir={runs}: holds runs of several seeds (seed_0, seed_1); give --seeds 2 to "
        "go on with them, or a new --workdir"
    )
    done = command("--workdir", runs, module="jaxcnn.evaluate", check=2)
    assert done.stderr.splitlines()[-1] == (
        f"error: --workdir={runs}: holds runs of several seeds; give one of them, "
        f"--workdir={runs}/seed_0"
    )
    done = command(*SMALL, "--workdir", workdir, "--seeds=2", check=2)
    assert done.stderr.splitlines()[-1] == (
        f"error: --workdir={workdir}: holds a run of one seed; give a new --workdir for several"
    )
