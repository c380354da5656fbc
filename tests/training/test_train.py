"""train(config, workdir): what a run leaves behind, and how it goes on."""

import json
import shutil
import threading

import pytest

from jaxcnn.errors import UserError
from jaxcnn.training.train import train
from tests.conftest import small_digits
from tests.processes import WITH_TENSORFLOW
from tests.runtime.test_writers import scalars

pytestmark = pytest.mark.quick


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def short(cache_dir):
    return two_epochs(cache_dir)


def two_epochs(cache_dir):
    """In a few steps."""
    config = small_digits(cache_dir)
    config.batch_size = 256
    return config


@pytest.fixture(scope="module")
def finished(cache_dir, tmp_path_factory):
    """(directory, metrics) of a run of `short`."""
    workdir = tmp_path_factory.mktemp("finished")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", WITH_TENSORFLOW)
        return workdir, train(two_epochs(cache_dir), workdir)


def test_a_run_leaves_what_the_readme_promises(finished):
    workdir, metrics = finished
    assert json.loads((workdir / "eval.json").read_text()) == metrics
    assert {"accuracy", "loss", "top5_accuracy", "precision_macro", "recall_macro", "f1_macro"} <= {
        *metrics
    }
    assert all(isinstance(value, str | int | float) for value in metrics.values())

    facts = json.loads((workdir / "dataset.json").read_text())
    assert facts["class_names"] == list("0123456789")
    assert facts["image_shape"] == [8, 8, 1]
    assert facts["splits"] == {"train": 1294, "validation": 144, "test": 359}
    assert 0 < facts["mean"][0] < 1 and 0 < facts["std"][0] < 1
    assert "opencv" in facts["resize"]["library"]

    environment = json.loads((workdir / "environment.json").read_text())
    assert environment["versions"]["jax"] and len(environment["devices"]) == 8

    written = lines(workdir)
    assert [(line["step"], line["split"]) for line in written] == [
        (6, "train"), (6, "validation"), (11, "train"), (11, "validation")
    ]  # fmt: skip
    assert written[-1]["epoch"] == pytest.approx(11 * 256 / 1294, abs=1e-3)
    assert {"loss", "accuracy", "learning_rate", "images_per_second", "step_ms"} <= {*written[0]}
    assert "mfu" not in written[0], "the peak of a CPU is not known"
    assert not (workdir / "plugins").exists(), "no trace was asked for"


def test_tensorboard_has_the_numbers_of_a_run_when_it_ends(has_tensorflow, finished):
    workdir, _ = finished
    expected = [
        (line["step"], f"{line['split']}/{name}", pytest.approx(value, rel=1e-6))
        for line in lines(workdir)
        for name, value in line.items()
        if name not in ("step", "epoch", "split")
    ]
    assert len(expected) > 10
    assert sorted(scalars(workdir)) == sorted(expected, key=lambda scalar: scalar[:2])


def test_a_notebook_may_train_in_any_thread(short, tmp_path):
    """Signal handlers belong to the main thread; elsewhere a run does without."""
    results = []
    thread = threading.Thread(target=lambda: results.append(train(short, tmp_path)))
    thread.start()
    thread.join()
    assert results and results[0]["split"] == "test"


def test_a_finished_run_is_not_trained_again(finished, short):
    workdir, metrics = finished
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
    assert train(short, workdir) == metrics
    assert {p: p.read_bytes() for p in workdir.rglob("*") if p.is_file()} == before


def test_a_finished_run_without_its_report_says_how_to_make_it(finished, short, tmp_path, caplog):
    workdir = shutil.copytree(finished[0], tmp_path / "copy")
    shutil.rmtree(workdir / "report", ignore_errors=True)
    short.report.at_end = True
    with caplog.at_level("INFO", "jaxcnn"):
        train(short, workdir)
    told = f"it has no report; make it with: jaxcnn evaluate --workdir={workdir}"
    assert told in caplog.messages
    short.report.at_end = False
    caplog.clear()
    train(short, workdir)
    assert told not in caplog.messages


def test_pmap_trains_as_jit_does(short, tmp_path):
    short.num_epochs, short.num_steps = None, 4
    short.log_every_steps = 1
    train(short, tmp_path / "jit")
    short.parallel.mode = "pmap"
    train(short, tmp_path / "pmap")
    losses = [
        [line["loss"] for line in lines(tmp_path / mode) if line["split"] == "train"]
        for mode in ("jit", "pmap")
    ]
    assert len(losses[0]) == 4
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_a_run_that_saved_nothing_leaves_its_directory_free(short, tmp_path):
    """A mistake in a new directory does not bar the corrected command from it."""
    short.model.norm = "bach"
    with pytest.raises(UserError, match="norm='bach'"):
        train(short, tmp_path)
    short.model.norm = "group"
    assert train(short, tmp_path)["num_examples"] == 359


def test_changed_data_are_noticed(finished, short, tmp_path):
    """A run stopped half-way, whose data set has become another one meanwhile."""
    workdir = shutil.copytree(finished[0], tmp_path / "copy")
    (workdir / "eval.json").unlink()
    facts = json.loads((workdir / "dataset.json").read_text())
    facts["identity"] = "other files"
    (workdir / "dataset.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match="the data have changed since the run in it began"):
        train(short, workdir)


def test_the_best_metric_may_be_the_loss(short, tmp_path):
    short.best_metric = "loss"
    short.optimizer.learning_rate = 0.05
    short.schedule.name = "constant"
    short.num_epochs = 4.0
    chosen = train(short, tmp_path)["checkpoint_step"]
    validation = {
        line["step"]: line["loss"] for line in lines(tmp_path) if line["split"] != "train"
    }
    assert chosen == min(validation, key=validation.get)


def test_bfloat16_trains(short, tmp_path):
    short.dtype = "bfloat16"
    short.optimizer.learning_rate = 0.01
    short.num_epochs = 6.0
    train(short, tmp_path)
    losses = [line["loss"] for line in lines(tmp_path) if line["split"] == "train"]
    assert losses[-1] < 0.8 * losses[0]
