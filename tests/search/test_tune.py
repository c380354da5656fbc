"""jaxcnn tune: searches that go well, are killed, are shared, are mistaken."""

import csv
import importlib.util
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from jaxcnn.config.keys import flatten, load_config, resolve
from tests.processes import command_line, finish, start

# A net that learns a little in three steps; trials that differ in the seed share what is compiled.
EXPERIMENT = """
from jaxcnn.config import default_config


def get_config():
    config = default_config()
    config.num_steps = 3
    config.eval_every_steps = 1
    config.checkpoint_every_steps = 1
    config.batch_size = 32
    config.model.filters = (4,)
    config.model.convs_per_stage = 1
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 0.1
    config.report.at_end = False
    return config
"""
SEARCH = """

def search(trial, config):
    config.seed = trial.suggest_int("seed", 0, 1000)
    config.model.dropout = trial.suggest_float("model.dropout", 0, 0.5)
"""
SEEDS = "--search.seed=0 1000"
DROPOUT = "--search.model.dropout=0 0.5"
RATES = "--search.optimizer.learning_rate=log 1e-3 1"
# Long enough to be killed on its way.
LONGER = (
    "--config.num_steps=40", "--config.eval_every_steps=4", "--config.checkpoint_every_steps=8"
)  # fmt: skip


@pytest.fixture
def line(cache_dir, tmp_path):
    """A command line for `jaxcnn tune` in tmp_path/tune."""
    file = tmp_path / "plain.py"
    file.write_text(EXPERIMENT)

    def line(*arguments):
        given = "--config", file, "--workdir", tmp_path / "tune", *arguments
        return command_line(*given, cache_dir=cache_dir, module="jaxcnn.tune")

    return line


@pytest.fixture
def begin(line):
    """Starts a search, and does not wait for it."""
    return lambda *arguments: start(line(*arguments))


@pytest.fixture
def tune(line):
    """Runs a search to its end."""

    def run(*arguments, check=0):
        done = subprocess.CompletedProcess("tune", *finish(start(line(*arguments))))
        assert done.returncode == check, done.stderr
        return done

    return run


def table(folder):
    with (folder / "tune/trials.csv").open(newline="") as lines:
        return list(csv.DictReader(lines))


def journal(folder):
    """The trials in a journal, as Optuna reads them."""
    import optuna

    backend = optuna.storages.journal.JournalFileBackend(str(folder / "tune/study.journal"))
    storage = optuna.storages.JournalStorage(backend)
    return optuna.load_study(study_name="tune", storage=storage).get_trials()


def line_of(done):
    """The one line that an error is."""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in done.stderr
    return line.removeprefix("error: ")


def test_a_search_ends_with_its_table_its_best_config_and_the_test_of_the_winner(tune, tmp_path):
    done = tune("--trials=3", RATES)
    folder = tmp_path / "tune"
    rows = table(tmp_path)
    assert [row["number"] for row in rows] == ["0", "1", "2"]
    assert {row["state"] for row in rows} == {"complete"}
    best = json.loads((folder / "best.json").read_text())
    assert best["value"] == max(float(row["value"]) for row in rows)
    row = rows[best["trial"]]
    assert float(row["optimizer.learning_rate"]) == best["params"]["optimizer.learning_rate"]

    run = folder / "trials" / str(best["trial"])
    assert best["test"] == json.loads((run / "eval.json").read_text())
    assert best["test"]["split"] == "test"
    assert [path.parent.name for path in folder.glob("trials/*/eval.json")] == [run.name]
    # Of the others the checkpoints are gone, and the curves are there.
    assert [path.parent.name for path in folder.glob("trials/*/checkpoints")] == [run.name]
    assert len(list(folder.glob("trials/*/metrics.jsonl"))) == 3
    assert (folder / "tune.html").read_text().startswith("<!")
    assert (folder / "history.png").read_bytes().startswith(b"\x89PNG")

    spec = importlib.util.spec_from_file_location("best", folder / "best.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    written, trained = resolve(module.get_config()), load_config(run / "config.json")
    apart = {"experiment"}  # best.py is one, of its own
    assert {k: v for k, v in flatten(written).items() if k not in apart} == {
        k: v for k, v in flatten(trained).items() if k not in apart
    }
    assert f"{best['value']:.2%}" in module.__doc__ and "--trials=3" in module.__doc__
    assert "best.py" in done.stdout


def test_a_search_that_is_finished_says_so_and_is_not_mistaken_for_another(tune, tmp_path):
    tune("--trials=1", SEEDS)
    before = (tmp_path / "tune/study.journal").read_bytes()
    assert "tune is finished: trial 0 with accuracy " in tune("--trials=1", SEEDS).stderr
    done = tune("--search.seed=0 10", "--config.batch_size=16", check=2)
    assert line_of(done) == (
        f"--workdir={tmp_path}/tune: the search in it is another one (config.batch_size was 32, is "
        "16, search.seed was '0 1000', is '0 10'); give a new --workdir, or the old values to go "
        "on with it"
    )
    assert (tmp_path / "tune/study.journal").read_bytes() == before

    (tmp_path / "tune/trials.csv").unlink()  # it is made again, and more trials may be asked for
    tune("--trials=2", SEEDS)
    assert len(table(tmp_path)) == 2
    assert (tmp_path / "tune/study.journal").read_bytes().startswith(before)


def test_a_search_in_the_experiment_file_is_what_is_searched(tune, tmp_path):
    (tmp_path / "plain.py").write_text(EXPERIMENT + SEARCH)
    done = tune("--trials=1", "--search.model.dropout=0.1|0.2")
    (row,) = table(tmp_path)
    assert set(row) == {"number", "state", "value", "seconds", "reason", "seed", "model.dropout"}
    assert row["model.dropout"] in ("0.1", "0.2")
    assert "trial 0 of 1: seed=" in done.stderr


def test_a_grid_is_searched_whole_and_what_fails_in_it_is_recorded(tune, tmp_path):
    done = tune("--sampler=grid", "--search.seed=1|2", "--search.optimizer.learning_rate=1e30|0.1")
    rows = table(tmp_path)
    points = {(row["seed"], row["optimizer.learning_rate"]): row for row in rows}
    assert len(rows) == 4
    assert points.keys() == {(seed, rate) for seed in "12" for rate in ("1e+30", "0.1")}
    for (_, rate), row in points.items():
        assert row["state"] == {"0.1": "complete", "1e+30": "failed"}[rate]
        if row["state"] == "failed":
            assert "loss" in row["reason"] and "step" in row["reason"]
            assert f"trial {row['number']} failed: {row['reason']}" in done.stderr


def test_a_search_whose_trials_all_fail_stops_after_five(tune, tmp_path):
    done = tune("--search.optimizer.learning_rate=log 1e30 1e31", check=2)
    assert line_of(done).startswith(
        f"--workdir={tmp_path}/tune: all 5 trials so far have failed, the last one: "
    )
    assert len(journal(tmp_path)) == 5


def test_trials_that_do_worse_than_others_did_are_pruned(tune, tmp_path):
    tune("--trials=6", "--pruner=hyperband", SEEDS, *LONGER)
    pruned = [trial for trial in journal(tmp_path) if trial.state.name == "PRUNED"]
    assert pruned
    rows = table(tmp_path)
    for trial in pruned:
        history = trial.user_attrs["history"]
        assert trial.value == history[-1][1] and history[-1][0] < 40
        assert rows[trial.number]["state"] == "pruned"
    best = json.loads((tmp_path / "tune/best.json").read_text())
    assert rows[best["trial"]]["state"] == "complete"


def test_a_search_that_is_killed_in_a_trial_goes_on_as_if_it_had_not_been(tune, begin, tmp_path):
    whole = tmp_path / "whole"
    tune("--trials=2", SEEDS, *LONGER)
    (tmp_path / "tune").rename(whole)
    expected = [row | {"seconds": ""} for row in csv.DictReader((whole / "trials.csv").open())]

    process = begin("--trials=2", SEEDS, *LONGER)
    run = tmp_path / "tune/trials/1"
    wait_for(lambda: (run / "checkpoints/8.sha256").exists(), process)
    process.send_signal(signal.SIGKILL)
    finish(process)
    first_line = (run / "metrics.jsonl").read_text().splitlines()[0]  # with its images/s
    before = journal(tmp_path)
    assert [trial.state.name for trial in before] == ["COMPLETE", "RUNNING"]

    done = tune("--trials=2", SEEDS, *LONGER)
    assert "trial 1: goes on" in done.stderr
    after = journal(tmp_path)
    assert after[0] == before[0]
    assert (after[1].params, after[1].datetime_start) == (
        before[1].params,
        before[1].datetime_start,
    )
    assert (run / "metrics.jsonl").read_text().splitlines()[0] == first_line
    assert [row | {"seconds": ""} for row in table(tmp_path)] == expected


def wait_for(condition, process, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, finish(process)
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_search_that_is_asked_to_stop_saves_and_says_how_to_go_on(number, code, begin, tmp_path):
    process = begin("--trials=2", SEEDS, *LONGER, "--config.num_steps=4000")
    wait_for(lambda: (tmp_path / "tune/trials/0/checkpoints/8.sha256").exists(), process)
    process.send_signal(number)
    returned, _, stderr = finish(process)
    assert returned == code
    assert "is saved; resume with: " in stderr and "jaxcnn tune --config" in stderr
    assert [trial.state.name for trial in journal(tmp_path)] == ["RUNNING"]


def test_the_time_may_be_limited_and_the_trial_goes_on_later(tune, tmp_path):
    done = tune("--minutes=0.005", SEEDS, *LONGER, "--config.num_steps=400", check=2)
    assert "no trial is complete" in line_of(done)
    assert [trial.state.name for trial in journal(tmp_path)] == ["RUNNING"]
    assert "goes on after step 4\n" in done.stderr  # where no checkpoint is due
    assert (tmp_path / "tune/trials/0/checkpoints/4.sha256").exists()
    done = tune("--trials=1", SEEDS, *LONGER, "--config.num_steps=400")
    assert "trial 0: goes on" in done.stderr and len(table(tmp_path)) == 1


def test_three_workers_share_a_search_and_no_trial_is_run_twice(begin, tmp_path):
    workers = [begin("--trials=7", SEEDS, "--pruner=none") for _ in range(3)]
    done = [finish(worker) for worker in workers]
    assert [code for code, *_ in done] == [0, 0, 0], done
    trials = journal(tmp_path)
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 7
    assert len({trial.params["seed"] for trial in trials}) == 7
    told = [stderr.count(f"trial {n} complete") for n in range(7) for *_, stderr in done]
    assert sum(told) == 7 and max(told) == 1
    assert sum(" of 7: " in stderr for *_, stderr in done) > 1, "one worker did it all"
    assert len(table(tmp_path)) == 7
    best = json.loads((tmp_path / "tune/best.json").read_text())
    assert best["test"]["split"] == "test"


TOGETHER = "--config.parallel.population=True"


def test_a_population_that_is_killed_goes_on_and_ends_with_all_its_trials(tune, begin, tmp_path):
    arguments = "--trials=2", RATES, *LONGER, TOGETHER, "--pruner=none"
    process = begin(*arguments)
    runs = [tmp_path / f"tune/trials/{number}" for number in range(2)]
    wait_for(lambda: all((run / "checkpoints/8.sha256").exists() for run in runs), process)
    process.send_signal(signal.SIGKILL)
    finish(process)
    before = journal(tmp_path)
    assert [trial.state.name for trial in before] == ["RUNNING"] * 2
    done = tune(*arguments)
    assert done.stderr.count(": goes on") == 2
    after = journal(tmp_path)
    assert [trial.state.name for trial in after] == ["COMPLETE"] * 2
    assert [trial.params for trial in after] == [trial.params for trial in before]
    for trial in after:
        assert [step for step, _ in trial.user_attrs["history"]] == list(range(4, 41, 4))


def test_one_of_a_population_that_fails_leaves_the_others_alone(tune, tmp_path):
    tune("--sampler=grid", "--search.optimizer.learning_rate=1e30|0.1|0.01", TOGETHER)
    rows = table(tmp_path)
    states = {row["optimizer.learning_rate"]: row["state"] for row in rows}
    assert states == {"1e+30": "failed", "0.1": "complete", "0.01": "complete"}


@pytest.mark.parametrize("sampler", ["cmaes", "random"])
def test_other_samplers_propose_for_a_population(sampler, tune, tmp_path):
    more = "--search.optimizer.momentum=0.1 0.9", f"--sampler={sampler}", "--population=3"
    tune("--trials=6", RATES, *more, TOGETHER)
    trials = journal(tmp_path)
    assert [trial.state.name for trial in trials] == ["COMPLETE"] * 6
    assert len({trial.params["optimizer.learning_rate"] for trial in trials}) == 6


def test_runs_of_another_study_are_not_taken_for_its_own(tune, tmp_path):
    tune("--trials=1", SEEDS)
    (tmp_path / "tune/study.journal").unlink()
    assert line_of(tune("--trials=1", SEEDS, check=2)) == (
        f"{tmp_path}/tune/trials/0: holds trials of another study; give a new --workdir"
    )


def test_a_study_may_be_in_a_database(tune, tmp_path):
    storage = f"--storage=sqlite:///{tmp_path}/trials.db"
    tune("--trials=1", SEEDS, storage)
    with sqlite3.connect(tmp_path / "trials.db") as database:
        assert database.execute("SELECT study_name FROM studies").fetchall() == [("tune",)]
        assert database.execute("SELECT count(*) FROM trials").fetchone() == (1,)
    assert not (tmp_path / "tune/study.journal").exists()
    with sqlite3.connect(tmp_path / "trials.db") as database:
        database.execute("BEGIN EXCLUSIVE")
        assert "database is locked" in line_of(tune("--trials=3", SEEDS, storage, check=2))
        database.rollback()
    # From another machine, whose folder knows nothing of the trials.
    shutil.rmtree(tmp_path / "tune")
    done = tune("--trials=1", SEEDS, storage)
    assert "was trained elsewhere" in done.stderr
    assert len(table(tmp_path)) == 1


def test_a_study_may_be_behind_a_grpc_server(tune, tmp_path):
    port = free_port()
    script = (
        "import optuna; from optuna import storages; storages.run_grpc_proxy_server("
        f"storages.RDBStorage('sqlite:///{tmp_path}/trials.db'), port={port})"
    )
    server = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: answers(port), server)
        tune("--trials=1", SEEDS, f"--storage=grpc://localhost:{port}")
    finally:
        server.terminate()
        server.wait()
    assert [row["state"] for row in table(tmp_path)] == ["complete"]


def free_port():
    import socket

    with socket.socket() as one:
        one.bind(("localhost", 0))
        return one.getsockname()[1]


def answers(port):
    import socket

    with socket.socket() as one:
        return one.connect_ex(("localhost", port)) == 0


MISTAKES = {
    "an unknown key": (
        ("--search.bach_size=1 2",),
        "--search.bach_size: no such key (did you mean batch_size?)",
    ),
    "a reversed bound": (
        ("--search.optimizer.learning_rate=1 0.1",),
        "--search.optimizer.learning_rate='1 0.1': the lower bound comes first, '0.1 1'",
    ),
    "a key twice": ((SEEDS, SEEDS), "--search.seed: given 2 times; give it once"),
    "a model that cannot be": (
        ("--search.model.norm=batch|bach",),
        "config.model: norm='bach': expected one of batch, group, layer, none",
    ),
    "batches larger than the data": (
        ("--search.batch_size=8 2000",),
        "config.batch_size=2000: there are 1,294 training images; give at most as many",
    ),
    "a range for a grid": (
        ("--sampler=grid",),
        '--sampler=grid: model.dropout is a range; list its values, --search.model.dropout="A|B|C"',
    ),
    "choices for CMA-ES": (
        ("--sampler=cmaes", "--search.model.norm=batch|group"),
        "--sampler=cmaes: model.norm is a choice, and CMA-ES takes ranges of numbers; give "
        "--sampler=tpe, or a range",
    ),
    "an unknown sampler": (
        ("--sampler=tpa",),
        "flag --sampler=tpa: value should be one of <tpe|random|grid|cmaes>",
    ),
    "no trials": (("--trials=0",), "flag --trials=0: 0 is not a positive integer"),
    "no time": (("--minutes=0",), "--minutes=0.0: expected a number above 0"),
    "an unknown metric": (
        ("--config.best_metric=acc",),
        "config.best_metric='acc': expected one of accuracy, loss, f1_macro, precision_macro, "
        "recall_macro",
    ),
    "no validation data": (
        ("--config.data.holdout=0",),
        "config.data.holdout: there are no validation images to compare trials by; give a "
        "config.data.holdout",
    ),
    "a storage that is no address": (("--storage=here",), "--storage=here: cannot be used (Could"),
    "a server that is not there": (
        ("--storage=grpc://localhost:1",),
        "--storage=grpc://localhost:1: cannot be used (failed to connect to all addresses",
    ),
    "a server without a port": (
        ("--storage=grpc://localhost",),
        "--storage=grpc://localhost: expected grpc://HOST:PORT",
    ),
    "a password": (
        ("--storage=nosuchsql://me:secret@localhost/x",),
        "--storage=nosuchsql://me:...@localhost/x: cannot be used (",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_before_anything_is_begun(name, tune, tmp_path):
    arguments, message = MISTAKES[name]
    assert line_of(tune(DROPOUT, *arguments, check=2)).startswith(message)
    assert not (tmp_path / "tune").exists()


def test_an_experiment_without_a_search_is_told_how_to_get_one(tune, tmp_path):
    done = tune(check=2)
    assert line_of(done).startswith(f"{tmp_path}/plain.py: nothing to search; give it a function ")
    assert not (tmp_path / "tune").exists()


def test_storages_that_are_something_else_are_refused_and_left_alone(tune, tmp_path):
    folder = tmp_path / "tune"
    (folder / "trials").mkdir(parents=True)
    (folder / "study.journal").write_text("a diary\n")
    assert line_of(tune(SEEDS, check=2)) == (
        f"{folder}/study.journal: is not Optuna's journal; give another --workdir"
    )
    assert (folder / "study.journal").read_text() == "a diary\n"
    shutil.rmtree(folder)

    (tmp_path / "x.db").write_text("no database, and longer than the header of one would be\n" * 9)
    storage = f"--storage=sqlite:///{tmp_path}/x.db"
    assert "file is not a database" in line_of(tune(SEEDS, storage, check=2))
    folder.mkdir()
    (folder / "photo.jpg").touch()
    assert "holds other files (photo.jpg, ...) and no search" in line_of(tune(SEEDS, check=2))


def test_a_study_of_somebody_else_is_refused(tune, tmp_path):
    import optuna

    storage = f"sqlite:///{tmp_path}/trials.db"
    study = optuna.create_study(storage=storage, study_name="tune", direction="maximize")
    study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=1)
    done = tune(SEEDS, f"--storage={storage}", check=2)
    assert "the study 'tune' in it is not one of jaxcnn tune" in line_of(done)


BAD = (
    "--config.optimizer.learning_rate=10", "--config.optimizer.weight_decay=5",
    "--config.model.dropout=0.95", "--config.loss.label_smoothing=0.9", "--config.num_epochs=12",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_digits_from_a_bad_config_reaches_98_5_percent_in_five_minutes(seed, command, tmp_path):
    begun = time.monotonic()
    command(
        "--config", "experiments/digits.py", *BAD, "--config.report.at_end=False",
        "--search.optimizer.learning_rate=log 1e-5 10",
        "--search.optimizer.weight_decay=log 1e-5 5", "--workdir", tmp_path / "tune",
        "--trials=100", "--minutes=4", f"--seed={seed}", module="jaxcnn.tune", check=0,
    )  # fmt: skip
    best = json.loads((tmp_path / "tune/best.json").read_text())
    assert best["test"]["accuracy"] >= 0.985
    assert time.monotonic() - begun < 300


FINDER = ("--config", "experiments/digits.py", "--config.model.filters=(8,)")


def test_the_finders_are_commands_of_tune(command, tmp_path):
    out = tmp_path / "found"
    done = command(
        "learning_rate", *FINDER, "--workdir", out, "--steps=25", module="jaxcnn.tune", check=0
    )
    assert done.stdout.splitlines()[-1] == f"more in {out}"
    assert {path.name for path in out.iterdir()} == {"learning_rate.json", "learning_rate.png"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("learning_rat",), "'learning_rat': expected learning_rate or batch_size, or flags (did "),
        (("batch_size", "--steps=30"), "--steps: is not for batch_size; leave it out"),
        (("batch_size", "--trials=3"), "--trials: is not for batch_size; leave it out"),
        (("learning_rate", "--search.seed=1 2"), "--search.seed: is not for learning_rate; leave"),
        (("--from=1",), "--from: is not for a search; leave it out"),
    ],
    ids=str,
)
def test_flags_that_would_do_nothing_are_refused(words, expected, command, tmp_path):
    done = command(*words, *FINDER, "--workdir", tmp_path / "found", module="jaxcnn.tune", check=2)
    assert done.stderr.splitlines()[-1].startswith(f"error: {expected}")
    assert not (tmp_path / "found").exists()
