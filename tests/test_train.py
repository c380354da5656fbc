"""train(config, workdir): what a run leaves behind, and how it goes on."""

import json
import threading

import pytest

from jaxcnn.errors import UserError
from jaxcnn.train import train


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def short(digits):
    """Two epochs in a few steps."""
    digits.batch_size = 256
    return digits


def test_a_run_leaves_what_the_readme_promises(short, tmp_path):
    metrics = train(short, tmp_path)
    assert json.loads((tmp_path / "eval.json").read_text()) == metrics
    assert {"accuracy", "loss", "top5_accuracy", "precision_macro", "recall_macro", "f1_macro"} <= {
        *metrics
    }
    assert all(isinstance(value, str | int | float) for value in metrics.values())

    facts = json.loads((tmp_path / "dataset.json").read_text())
    assert facts["class_names"] == list("0123456789")
    assert facts["image_shape"] == [8, 8, 1]
    assert facts["splits"] == {"train": 1294, "validation": 144, "test": 359}
    assert 0 < facts["mean"][0] < 1 and 0 < facts["std"][0] < 1
    assert "opencv" in facts["resize"]["library"]

    environment = json.loads((tmp_path / "environment.json").read_text())
    assert environment["versions"]["jax"] and len(environment["devices"]) == 8

    written = lines(tmp_path)
    assert [(line["step"], line["split"]) for line in written] == [
        (6, "train"), (6, "validation"), (11, "train"), (11, "validation")
    ]  # fmt: skip
    assert written[-1]["epoch"] == pytest.approx(11 * 256 / 1294, abs=1e-3)
    assert {"loss", "accuracy", "learning_rate", "images_per_second"} <= {*written[0]}


def test_a_notebook_may_train_in_any_thread(short, tmp_path):
    """Signal handlers belong to the main thread; elsewhere a run does without."""
    results = []
    thread = threading.Thread(target=lambda: results.append(train(short, tmp_path)))
    thread.start()
    thread.join()
    assert results and results[0]["split"] == "test"


def test_a_finished_run_is_not_trained_again(short, tmp_path):
    first = train(short, tmp_path)
    before = (tmp_path / "metrics.jsonl").read_text()
    assert train(short, tmp_path) == first
    assert (tmp_path / "metrics.jsonl").read_text() == before


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


def test_changed_data_are_noticed(short, tmp_path):
    """A run stopped half-way, whose data set has become another one meanwhile."""
    train(short, tmp_path)
    (tmp_path / "eval.json").unlink()
    facts = json.loads((tmp_path / "dataset.json").read_text())
    facts["identity"] = "other files"
    (tmp_path / "dataset.json").write_text(json.dumps(facts))
    with pytest.raises(UserError, match="the data have changed since the run in it began"):
        train(short, tmp_path)


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
