"""Run directories that commit a856e92 (version 0.1) left: they open, answer and go on as they did.

A digits run, and a ResNet-20 with an exponential average; both were stopped after 82 of 162 steps.
`expected.json` is what that commit said of their best checkpoint, of step 81.
"""

import csv
import json
import shutil
import tarfile
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from jaxcnn.config import load_config
from jaxcnn.config.keys import flatten
from jaxcnn.data import SOURCES
from jaxcnn.files.folders import manifest
from jaxcnn.inference.classifier import load_classifier
from jaxcnn.inference.trained import load_trained
from jaxcnn.runtime.checkpoint import Checkpoints
from jaxcnn.serving.served import serve_model
from jaxcnn.training.first_state import state_maker, state_shapes
from tests.serving.conftest import SMALL, serving

FIXTURES = Path(__file__).parents[1] / "fixtures"
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.fixture(scope="module", params=["digits", "resnet_ema"])
def untouched(request, tmp_path_factory):
    """An old run directory, to read."""
    return unpacked(request.param, tmp_path_factory.mktemp("old"))


@pytest.fixture(params=["digits", "resnet_ema"])
def old(request, tmp_path):
    """An old run directory, to change."""
    return unpacked(request.param, tmp_path)


def unpacked(name, folder):
    with tarfile.open(FIXTURES / f"{name}_a856e92.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    return folder / name


def expected_of(run):
    content = json.loads((run / "expected.json").read_text())
    return content | {"probabilities": np.array(content["probabilities"])}


def images_of(run):
    images, _ = SOURCES["digits"]()["train"].read(np.array(expected_of(run)["index"]))
    return np.stack(images)


def experiment_of(run, file):
    """An experiment file with the config of a run."""
    keys = {k: v for k, v in flatten(load_config(run / "config.json")).items() if v is not None}
    file.write_text(
        "from jaxcnn import default_config\n\n\ndef get_config():\n"
        "    config = default_config()\n"
        f"    for key, value in {keys!r}.items():\n"
        "        *parts, leaf = key.split('.')\n"
        "        part = config[parts[0]] if parts else config\n"
        "        part[leaf] = value\n"
        "    return config\n"
    )
    return file


def test_evaluate_gives_its_numbers(untouched, command, tmp_path):
    command("--workdir", untouched, "--output", tmp_path, module="jaxcnn.evaluate", check=0)
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    expected = expected_of(untouched)
    assert metrics["checkpoint_step"] == 81
    for name in ("accuracy", "loss"):
        assert metrics["metrics"][name]["value"] == pytest.approx(expected[name], rel=1e-5)
    with (tmp_path / "predictions.csv").open() as lines:
        rows = {int(row["index"]): row for row in csv.DictReader(lines)}
    for index, probabilities in zip(expected["index"], expected["probabilities"], strict=True):
        found = [float(value) for name, value in rows[index].items() if name.startswith("p_")]
        np.testing.assert_allclose(found, probabilities, atol=1e-5)


def test_predict_gives_its_probabilities(untouched, command, tmp_path):
    import cv2

    for number, image in enumerate(images_of(untouched)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    done = command("--workdir", untouched, tmp_path, module="jaxcnn.predict", check=0)
    names = load_trained(untouched).class_names
    for line, expected in zip(
        done.stdout.splitlines(), expected_of(untouched)["probabilities"], strict=True
    ):
        for one in json.loads(line)["top"]:
            probability = expected[names.index(one["label"])]
            assert one["probability"] == pytest.approx(probability, abs=1e-5)


def test_export_and_serve_give_its_probabilities(old, command):
    command("--workdir", old, "--format=onnx,stablehlo", module="jaxcnn.export", check=0)
    images, expected = images_of(old), expected_of(old)["probabilities"]
    for path in (old, old / "export/model.onnx"):
        np.testing.assert_allclose(load_classifier(path).probabilities(images), expected, atol=1e-5)
    with serving([serve_model("old", load_classifier(old), 8, 0.0, SMALL.waiting, 1)]) as client:
        import cv2

        files = [("file", cv2.imencode(".png", image)[1].tobytes()) for image in images]
        answers = client.post("/predict", files=files).json()["predictions"]
    for answer, row in zip(answers, expected, strict=True):
        assert answer["probability"] == pytest.approx(row.max(), abs=1e-5)


def test_training_goes_on(old, command, tmp_path):
    done = command("--config", experiment_of(old, tmp_path / "old.py"), "--workdir", old, check=0)
    assert "resuming from step 82" in done.stderr
    evaluation = json.loads((old / "eval.json").read_text())
    assert evaluation["accuracy"] > expected_of(old)["accuracy"]
    assert max(int(path.stem) for path in (old / "checkpoints").glob("*.sha256")) == 162


def test_a_model_in_use_has_the_averages_and_no_optimiser(untouched):
    trained = load_trained(untouched)
    arrays = jax.tree.leaves(trained)
    kept = sum(a.nbytes for a in arrays if isinstance(a, jax.Array))
    assert kept == sum(a.nbytes for a in jax.tree.leaves(trained.variables))
    assert not jax.tree.leaves(trained.state.opt_state)
    config, facts = load_config(untouched / "config.json"), trained.facts
    make = state_maker(config, facts["splits"]["train"], 10, trained.image_shape)
    checkpoints = Checkpoints(untouched / "checkpoints", config.best_metric, read_only=True)
    state = checkpoints.restore(81, state_shapes(make))
    checkpoints.close()
    assert (state.averaged is not None) == (untouched.name == "resnet_ema")
    jax.tree.map(np.testing.assert_array_equal, trained.variables, dict(state.variables))


def with_another_optimiser_state(run):
    """Writes the run's checkpoint 82 anew, as an Optax whose chain has one part more would."""
    config, trained = load_config(run / "config.json"), load_trained(run)
    make = state_maker(config, trained.facts["splits"]["train"], 10, trained.image_shape)
    checkpoints = Checkpoints(run / "checkpoints", config.best_metric)
    state = checkpoints.restore(82, state_shapes(make))
    other = (state.opt_state, optax.ScaleByScheduleState(count=state.step))
    checkpoints.close()
    shutil.rmtree(run / "checkpoints/82")
    checkpoints = Checkpoints(run / "checkpoints", config.best_metric)
    checkpoints.save(82, state.replace(opt_state=other), None)
    checkpoints.close()
    text = manifest(run / "checkpoints/82")
    assert (run / "checkpoints/82.sha256").read_text() == text


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_optimiser_state_of_another_layout_ends_resuming_in_one_line(old, command, tmp_path):
    with_another_optimiser_state(old)
    before = contents(old / "checkpoints")
    experiment = experiment_of(old, tmp_path / "old.py")
    done = command("--config", experiment, "--workdir", old, check=2)
    (line,) = [one for one in done.stderr.splitlines() if one.startswith("error:")]
    assert "training cannot go on from checkpoint 82" in line and "opt_state" in line
    assert "another --workdir" in line and "Traceback" not in done.stderr
    assert "the state of its optimiser" in line and "expected nothing" in line
    assert "evaluate, predict and export" in line and "partial_restore" not in line
    assert contents(old / "checkpoints") == before
    latest = load_trained(old, "latest")
    assert latest.step == 82
    np.testing.assert_allclose(
        load_classifier(old, "82").probabilities(images_of(old)).sum(-1), 1, atol=1e-5
    )


def test_a_state_of_another_model_is_not_called_another_optimiser(untouched):
    from jaxcnn.errors import UserError

    config, facts = load_config(untouched / "config.json"), load_trained(untouched).facts
    make = state_maker(config, facts["splits"]["train"], 11, tuple(facts["image_shape"]))
    checkpoints = Checkpoints(untouched / "checkpoints", config.best_metric, read_only=True)
    with pytest.raises(UserError, match="the state of its model") as error:
        checkpoints.restore(82, state_shapes(make))
    checkpoints.close()
    assert "[10], expected float32[11]" in str(error.value) and "\n" not in str(error.value)


def test_a_model_that_has_changed_since_is_told_in_one_line(old):
    from jaxcnn.errors import UserError

    keys = json.loads((old / "config.json").read_text())
    if old.name == "digits":
        keys["model"]["filters"] = [8, 24]
    else:
        keys["model"]["width"] = 8
    (old / "config.json").write_text(json.dumps(keys))
    with pytest.raises(UserError, match="is not of the model") as error:
        load_trained(old)
    assert "\n" not in str(error.value)
