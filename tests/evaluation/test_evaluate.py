"""jaxcnn evaluate: what a trained model is told to be, on its own data and on others."""

import csv
import json
import shutil

import cv2
import jax
import numpy as np
import pytest
from sklearn import metrics as oracle

from jaxcnn.analysis.tables import metrics_text
from jaxcnn.cli.parsing import with_overrides
from jaxcnn.config.keys import flatten, load_config, resolve, unflatten
from jaxcnn.core.step import make_predict_step
from jaxcnn.data.pipeline import eval_batches
from jaxcnn.errors import UserError
from jaxcnn.evaluation.assess import assess, find_data
from jaxcnn.evaluation.report import write_report
from jaxcnn.inference.passes import predict
from jaxcnn.inference.trained import load_trained
from jaxcnn.runtime.mesh import jit_parallel
from jaxcnn.training.train import train
from tests.conftest import small_digits


def changed(workdir, **values):
    """The trained model with other keys of its config ("data__dir" for data.dir)."""
    trained = load_trained(workdir)
    values = {key.replace("__", "."): value for key, value in values.items()}
    config = unflatten(flatten(trained.config) | values)
    return trained._replace(config=with_overrides(config, values))


def write_images(root, classes, size=20, first=0):
    """Digits as PNG files in a folder for each class, some of which may have other names."""
    from sklearn.datasets import load_digits

    data = load_digits()
    image = (data.images * 15.9).astype(np.uint8)
    for digit, name in classes.items():
        (root / name).mkdir(parents=True)
        for number in np.flatnonzero(data.target == digit)[first : first + size]:
            cv2.imwrite(str(root / name / f"{number}.png"), image[number])


def test_training_ends_with_a_report_whose_numbers_are_those_of_eval_json(workdir):
    tested = json.loads((workdir / "eval.json").read_text())
    told = json.loads((workdir / "report" / "metrics.json").read_text())
    assert told["split"] == tested["split"] == "test"
    assert told["checkpoint_step"] == tested["checkpoint_step"]
    assert told["num_examples"] == tested["num_examples"] == 359
    for name in set(tested) - {"split", "checkpoint_step", "num_examples", "loss"}:
        assert told["metrics"][name]["value"] == pytest.approx(tested[name], abs=1e-12), name
    assert told["metrics"]["loss"]["value"] == pytest.approx(tested["loss"], rel=1e-6)


def test_the_report_folder_holds_what_the_readme_promises(workdir):
    names = {path.name for path in (workdir / "report").iterdir()}
    assert names >= {
        "report.html", "metrics.json", "predictions.csv", "curves.png", "confusion_matrix.png",
        "misclassified.png", "predictions.png", "feature_maps.png", "filters.png", "grad_cam.png",
    }  # fmt: skip
    assert not [name for name in names if name.startswith(".")]
    for path in (workdir / "report").glob("*.png"):
        height, width, _ = cv2.imread(str(path)).shape
        assert height > 50 and width > 50, path.name


def test_predictions_csv_holds_what_the_numbers_are_made_of(workdir):
    with (workdir / "report" / "predictions.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    told = json.loads((workdir / "report" / "metrics.json").read_text())["metrics"]
    label, prediction = ([int(row[name]) for row in rows] for name in ("label", "prediction"))
    probabilities = np.array([[float(row[f"p_{k}"]) for k in range(10)] for row in rows])
    assert len({row["index"] for row in rows}) == 359
    assert probabilities.argmax(1).tolist() == prediction
    assert told["accuracy"]["value"] == oracle.accuracy_score(label, prediction)
    probabilities /= probabilities.sum(1, keepdims=True)  # six digits each
    expected = oracle.log_loss(label, probabilities)
    assert told["loss"]["value"] == pytest.approx(expected, rel=1e-4)
    area = oracle.roc_auc_score(label, probabilities, multi_class="ovr")
    assert told["roc_auc_macro"]["value"] == pytest.approx(area, rel=1e-5)


@pytest.mark.parametrize("batch_size", [7, 359, 1000])
def test_neither_batch_size_nor_devices_change_a_count(workdir, assessment, batch_size):
    trained, split = assessment.trained, assessment.data.parts[0]
    parallel = jit_parallel(jax.devices()[:1])
    step = make_predict_step(trained.model, normalize=trained.normalize)
    compiled = parallel.transform(step, donate=False)
    state = parallel.place_state(trained.state)
    batches = map(parallel.place_batch, eval_batches(split, batch_size))
    (logits,) = predict(compiled, state, batches, len(split), parallel)["logits"]
    assert logits.argmax(-1).tolist() == assessment.logits.argmax(-1).tolist()
    np.testing.assert_allclose(logits, assessment.logits, atol=1e-4)


def test_other_data_are_told_apart_by_the_names_of_their_classes(workdir, tmp_path):
    """Three of the ten classes, whose labels in that folder are 0, 1 and 2."""
    write_images(tmp_path / "photos", {7: "7", 3: "3", 9: "9"})
    trained = changed(workdir, data__source="folder", data__dir=str(tmp_path / "photos"))
    data = find_data(trained)
    assert (data.split, data.own, data.validation) == ("all", False, None)
    found = assess(trained, data)
    assert len(found.label) == 60 and set(found.label.tolist()) == {3, 7, 9}
    assert found.measured.metrics["accuracy"].value > 0.5
    assert found.measured.classes["5"]["roc_auc"].reason == "no example of this class"
    assert sorted(found.paths)[0].startswith("3/")
    text, pictures = write_report(found, tmp_path / "out")
    assert "60 examples" in text and "misclassified" in pictures
    assert (tmp_path / "out" / "predictions.csv").read_text().startswith("path,label,prediction,")


def test_groups_of_a_table_are_measured_one_by_one(workdir, tmp_path):
    write_images(tmp_path, {1: "1", 2: "2"}, size=10)
    lines = ["path,label,group"]
    for path in sorted(tmp_path.glob("*/*.png")):
        name = path.relative_to(tmp_path).as_posix()
        lines.append(f"{name},{name[0]},{'north' if int(path.stem) % 2 else 'south'}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    trained = changed(workdir, data__source="csv", data__dir=str(tmp_path / "labels.csv"))
    measured = assess(trained, find_data(trained, "all")).measured
    assert set(measured.groups) == {"north", "south"}
    assert sum(measured.group_sizes.values()) == 20
    hits = sum(
        measured.groups[name]["accuracy"].value * size
        for name, size in measured.group_sizes.items()
    )
    assert hits / 20 == pytest.approx(measured.metrics["accuracy"].value)


def test_other_classes_are_refused_in_one_line(workdir, tmp_path):
    write_images(tmp_path / "photos", {1: "cat", 2: "dog"}, size=4)
    trained = changed(workdir, data__source="folder", data__dir=str(tmp_path / "photos"))
    with pytest.raises(UserError, match=r"class 'cat' and 1 more are unknown to the model, whose"):
        find_data(trained)


def test_a_temperature_is_fitted_on_validation_and_kept_with_the_model(workdir, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(workdir, copy)
    before = assess(load_trained(copy), find_data(load_trained(copy)))
    assert before.temperature == 1 and before.fitted is not None
    trained = changed(copy, report__temperature=True)
    found = assess(trained, find_data(trained))
    assert found.temperature == before.fitted != 1
    assert load_trained(copy).temperature == before.fitted
    assert load_trained(workdir).temperature is None
    assert found.measured.confusion.tolist() == before.measured.confusion.tolist()
    losses = {t: numbers["loss"].value for t, numbers in found.calibration.items()}
    assert found.measured.metrics["loss"].value == pytest.approx(losses[found.temperature])
    assert losses[1.0] == pytest.approx(before.measured.metrics["loss"].value)
    assert not (copy / "calibration.json").read_text().count("NaN")
    latest = load_trained(copy, "latest")
    assert latest.step == trained.step or latest.temperature is None


def test_test_time_augmentation_stands_beside_the_plain_numbers(workdir):
    trained = changed(workdir, report__tta=("shift",))
    found = assess(trained, find_data(trained))
    plain, views = (m.metrics["loss"].value for m in (found.measured, found.views))
    assert views != plain
    assert found.measured.support.tolist() == found.views.support.tolist()
    text = metrics_text(found.measured, found.views.metrics)
    (line,) = [line for line in text.splitlines() if "test-time" in line]
    accuracy = found.views.metrics["accuracy"].value
    assert line.startswith(f"accuracy with test-time augmentation {100 * accuracy:.2f} %")
    assert text.replace(f"\n{line}\n", "") == metrics_text(found.measured)


def test_the_final_test_is_the_same_without_a_report_and_in_a_later_evaluation(
    workdir, tmp_path, command
):
    """Sums on the devices, one pass of a run, and one of `jaxcnn evaluate` on another device."""
    shutil.copytree(workdir, tmp_path / "run")
    (tmp_path / "run/eval.json").unlink()
    config = load_config(workdir / "config.json")
    config.report.at_end = False
    expected = json.loads((workdir / "eval.json").read_text())
    sums = train(config, tmp_path / "run")
    assert sums.keys() == expected.keys()
    assert sums.pop("split") == expected.pop("split") == "test"
    assert sums == pytest.approx(expected, rel=1e-6)
    words = f"--workdir={workdir}", f"--output={tmp_path / 'later'}"
    command(*words, module="jaxcnn.evaluate", check=0)
    later = json.loads((tmp_path / "later/metrics.json").read_text())
    assert (later["split"], later["checkpoint_step"]) == ("test", expected["checkpoint_step"])
    for name in expected.keys() & later["metrics"].keys():
        assert later["metrics"][name]["value"] == pytest.approx(expected[name], rel=1e-6), name


def test_predictions_that_do_not_fit_in_memory_cost_the_report_alone(
    digits, tmp_path, monkeypatch, caplog
):
    def fail(*arguments):
        raise MemoryError

    monkeypatch.setattr("jaxcnn.training.run.predict", fail)
    digits.num_epochs, digits.num_steps = None, 3
    digits.report.at_end = True
    assert train(digits, tmp_path) == json.loads((tmp_path / "eval.json").read_text())
    assert "no report, no test-time augmentation: predictions of 359 images do not" in caplog.text
    assert not (tmp_path / "report").exists()


def test_a_run_tells_both_accuracies_where_test_time_augmentation_is_asked_for(cache_dir, tmp_path):
    """And the report, which predicts each image, comes to the same numbers."""
    config = small_digits(cache_dir)
    config.num_epochs = 0.5
    config.report.tta = ("shift", "flip")
    metrics = train(config, tmp_path)
    assert json.loads((tmp_path / "eval.json").read_text()) == metrics
    trained = load_trained(tmp_path)
    found = assess(trained, find_data(trained))
    assert metrics["accuracy"] == pytest.approx(found.measured.metrics["accuracy"].value)
    views = found.views.metrics
    assert metrics["tta_accuracy"] == pytest.approx(views["accuracy"].value)
    assert metrics["tta_loss"] == pytest.approx(views["loss"].value, rel=1e-5)
    assert metrics["tta_loss"] != pytest.approx(metrics["loss"], rel=1e-3)


def test_every_split_can_be_asked_for(workdir):
    trained = load_trained(workdir)
    sizes = {name: len(assess_labels(trained, name)) for name in ("train", "validation", "all")}
    assert sizes == {"train": 1294, "validation": 144, "all": 1797}


def assess_labels(trained, split):
    return np.concatenate([part.label for part in find_data(trained, split).parts])


def test_evaluation_leaves_the_checkpoints_as_they_are(workdir):
    """A run may be training there: what looks unfinished is not touched."""
    folder = workdir / "checkpoints"
    unfinished = folder / "999"
    unfinished.mkdir()
    before = sorted(path.name for path in folder.iterdir())
    load_trained(workdir)
    load_trained(workdir, "latest")
    assert sorted(path.name for path in folder.iterdir()) == before
    unfinished.rmdir()


def test_a_report_that_fails_leaves_the_run_whole(digits, tmp_path, monkeypatch, capsys):
    def fail(*arguments):
        raise MemoryError("no memory\nfor figures")

    monkeypatch.setattr("jaxcnn.training.train.write_report", fail)
    digits.num_epochs, digits.num_steps = None, 3
    digits.report.at_end = True
    metrics = train(digits, tmp_path)
    assert json.loads((tmp_path / "eval.json").read_text()) == metrics
    told = capsys.readouterr().err
    assert (
        "warning: no report (MemoryError: no memory for figures); the run is whole, try again "
        f"with: jaxcnn evaluate --workdir={tmp_path}" in told
    )


def test_without_a_report_none_is_made(digits, tmp_path):
    digits.num_epochs, digits.num_steps = None, 3
    train(digits, tmp_path)
    assert (tmp_path / "eval.json").exists() and not (tmp_path / "report").exists()


def test_report_keys_may_change_on_a_finished_run(workdir):
    config = load_config(workdir / "config.json")
    values = flatten(config) | {"report.resamples": 500}
    assert train(resolve(unflatten(values)), workdir)["num_examples"] == 359


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "--workdir: give the folder of a trained model"),
        (("--workdir=nothing",), "--workdir=nothing: no such folder; give the folder that"),
        (("--workdir={run}", "--config=experiments/digits.py"), "--config: is the run's own"),
        (("--workdir={run}", "--checkpoint=7"), "--checkpoint=7: expected best, latest or one of"),
        (("--workdir={run}", "--split=tset"), "--split=tset: expected one of train, validation"),
        (("--workdir={run}", "--config.model.name=resnet18"), "config.model.name: the model is"),
        (("--workdir={run}", "--config.data.sorce=x"), "config.data.sorce: "),
        (("--workdir={run}", "--config.report.at_end=False"), "config.report.at_end: the model is"),
        (("--workdir={empty}",), "no run in it (config.json is missing)"),
        (("--workdir={broken}",), "not the config of a run"),
        (("--workdir={unsaved}",), "no whole checkpoint in it"),
        (("--workdir={run}", "--output={file}"), "is a file; give a folder"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_exit_code_2(command, workdir, tmp_path, arguments, line):
    places = {name: tmp_path / name for name in ("empty", "broken", "unsaved")}
    for place in places.values():
        place.mkdir()
    (places["broken"] / "config.json").write_text('{"seed": ')
    for name in ("config.json", "dataset.json"):
        shutil.copy(workdir / name, places["unsaved"])
    (tmp_path / "file").touch()
    places |= {"run": workdir, "file": tmp_path / "file"}
    done = command(
        *(argument.format(**places) for argument in arguments), module="jaxcnn.evaluate", check=2
    )
    (last,) = [one for one in done.stderr.splitlines() if one.startswith("error:")]
    assert line in last
