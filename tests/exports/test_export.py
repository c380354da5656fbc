"""jaxcnn export: from a run directory to files that other systems load."""

import dataclasses
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest

from jaxcnn.data import SOURCES
from jaxcnn.exports import export as exporting
from jaxcnn.exports.export import export
from jaxcnn.inference.classifier import load_classifier
from jaxcnn.inference.trained import keep_temperature, load_trained

FILES = ("model.onnx", "model.stablehlo", "model.safetensors", "model.keras", "model.h5")


@pytest.fixture(scope="module")
def digits():
    images, _ = SOURCES["digits"]()["train"].read(np.arange(64))
    return np.stack(images)


@pytest.fixture
def run(workdir, tmp_path):
    """A run of one's own."""
    return shutil.copytree(workdir, tmp_path / "digits run")


def test_the_command_writes_what_load_classifier_reads(run, command, digits):
    formats = "--format=onnx,stablehlo,safetensors,keras,h5"
    given = ["--workdir", run, formats, "--int8", "--triton"]
    done = command(*given, module="jaxcnn.export", check=0)
    for file in FILES:
        told = re.search(rf"{file} .* MB  differs from JAX by (\S+) at most on (\d+) ", done.stdout)
        assert float(told[1]) <= 1e-5 and int(told[2]) == 257, file
    assert re.search(r"model_int8.onnx .*right on \d\d\.\d\d% of 359 test images", done.stdout)
    last = f"next: jaxcnn serve --artifact '{run}/export/model.onnx'"
    assert done.stdout.splitlines()[-1] == last
    card = json.loads((run / "export/model.json").read_text())
    for file in FILES:
        content = (run / "export" / file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == card["files"][file]["sha256"]
    trained, exported = load_classifier(run), load_classifier(run / "export/model.onnx")
    assert exported.card == trained.card
    np.testing.assert_allclose(
        exported.probabilities(digits), trained.probabilities(digits), atol=1e-5
    )
    small = load_classifier(run / "export/model_int8.onnx")
    assert small.card == trained.card
    agree = small.probabilities(digits).argmax(-1) == trained.probabilities(digits).argmax(-1)
    assert agree.mean() > 0.9
    (served,) = (run / "export/triton").iterdir()
    assert served.name == "digits_run"
    assert (served / "1/model.onnx").read_bytes() == (run / "export/model.onnx").read_bytes()
    assert "dims: [8, 8, 1]" in (served / "config.pbtxt").read_text()


def test_keras_files_open_where_there_is_no_jaxcnn(run, tmp_path, digits):
    assert not export(load_trained(run), tmp_path, ["keras", "h5"]).refused
    np.save(tmp_path / "digits.npy", digits)
    script = """if True:
        import sys
        sys.modules |= dict.fromkeys(("jaxcnn", "flax"))  # as if not installed
        import keras, numpy
        for file in ("model.keras", "model.h5"):
            net = keras.models.load_model(file)
            answer = net(numpy.load("digits.npy"))
            numpy.save(file, keras.ops.convert_to_numpy(answer))
    """
    how = {"cwd": tmp_path, "env": os.environ | {"KERAS_BACKEND": "jax"}}
    subprocess.run([sys.executable, "-c", script], check=True, **how)
    expected = load_classifier(run).probabilities(digits)
    for file in ("model.keras", "model.h5"):
        np.testing.assert_allclose(np.load(tmp_path / f"{file}.npy"), expected, atol=1e-5)


@pytest.mark.slow
def test_a_saved_model_answers_as_jax_does(run, command, has_tensorflow, monkeypatch):
    monkeypatch.delenv("KERAS_BACKEND", raising=False)  # which another test has brought here
    given = ["--workdir", run, "--format=keras,saved_model"]
    done = command(*given, module="jaxcnn.export", check=0, tensorflow=True)
    for file in ("saved_model", "model.keras"):
        told = re.search(rf"{file}/? .* differs from JAX by (\S+) at most on 257 test", done.stdout)
        assert float(told[1]) <= 1e-5
    again = command(*given, module="jaxcnn.export", check=0, tensorflow=True)  # in its place
    assert "saved_model" in again.stdout
    assert {path.name for path in (run / "export").iterdir()} == {
        "model.json", "model.keras", "saved_model",
    }  # fmt: skip


def test_a_fitted_temperature_is_in_the_file(run, tmp_path, digits):
    assert not export(keep_temperature(load_trained(run), 3.0), tmp_path, ["onnx"]).refused
    exported = load_classifier(tmp_path / "model.onnx")
    assert exported.card["temperature"] == 3.0
    warm = load_classifier(run).probabilities(digits)
    np.testing.assert_allclose(exported.probabilities(digits), warm, atol=1e-5)
    (run / "calibration.json").unlink()
    assert abs(load_classifier(run).probabilities(digits) - warm).max() > 0.05


def test_averaged_weights_are_what_is_exported_in_float32(digits, tmp_path, cache_dir):
    from jaxcnn.training.train import train
    from tests.conftest import small_digits

    config = small_digits(cache_dir)
    config.num_epochs, config.num_steps, config.dtype = None, 4, "bfloat16"
    config.ema.decay = 0.9
    train(config, tmp_path)
    assert not export(load_trained(tmp_path), tmp_path / "export", ["onnx", "safetensors"]).refused
    exported = load_classifier(tmp_path / "export/model.onnx")
    expected = load_classifier(tmp_path).probabilities(digits)
    np.testing.assert_allclose(exported.probabilities(digits), expected, atol=1e-5)


def test_a_file_for_so_many_images_at_once_answers_any_number(run, tmp_path, digits):
    assert not export(load_trained(run), tmp_path, ["onnx"], batch=10).refused
    exported, trained = load_classifier(tmp_path / "model.onnx"), load_classifier(run)
    for count in (1, 10, 64):
        expected = trained.probabilities(digits[:count])
        np.testing.assert_allclose(exported.probabilities(digits[:count]), expected, atol=1e-5)


def test_model_json_forgets_no_file_that_is_as_it_was(run):
    trained, folder = load_trained(run), run / "export"
    for name in ("onnx", "safetensors", "stablehlo"):
        export(trained, folder, [name])
        if name == "onnx":
            (folder / "model.onnx").write_bytes(b"changed")
    files = json.loads((folder / "model.json").read_text())["files"]
    assert list(files) == ["model.safetensors", "model.stablehlo"]


@pytest.mark.parametrize("damaged", ['{"files": {"model.onnx": {}}}', "{", "[1]"])
def test_model_json_is_written_after_each_file_whatever_it_held(damaged, run, monkeypatch):
    folder = run / "export"
    folder.mkdir()
    (folder / "model.onnx").touch()
    (folder / "model.json").write_text(damaged)
    write = exporting.write_verified

    def interrupted(folder, name, *given):
        if name == "stablehlo":
            raise KeyboardInterrupt
        return write(folder, name, *given)

    monkeypatch.setattr(exporting, "write_verified", interrupted)
    with pytest.raises(KeyboardInterrupt):
        export(load_trained(run), folder, ["onnx", "stablehlo"])
    listed = json.loads((folder / "model.json").read_text())["files"]["model.onnx"]["sha256"]
    assert listed == hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest()


def test_what_was_made_of_another_onnx_file_goes_with_it(run):
    trained, folder = load_trained(run), run / "export"
    export(trained, folder, ["onnx"], int8=True, triton=True)
    made = json.loads((folder / "model.json").read_text())["files"]
    assert list(made) == ["model.onnx", "model_int8.onnx", "triton"]
    export(trained, folder, ["onnx"])
    assert (folder / "triton").exists() and (folder / "model_int8.onnx").exists()  # of the same
    (config,) = (folder / "triton").glob("*/config.pbtxt")
    config.write_text("of someone's own")
    lines = export(keep_temperature(trained, 3.0), folder, ["onnx"]).lines
    assert [name for name, _ in lines] == ["model_int8.onnx", "triton/", "model.onnx", "model.json"]
    assert lines[0][1].startswith("deleted") and lines[1][1].startswith("stays as it was")
    assert not (folder / "model_int8.onnx").exists() and config.exists()
    assert list(json.loads((folder / "model.json").read_text())["files"]) == ["model.onnx"]


def test_a_disk_that_refuses_triton_is_a_reason_and_odd_names_are_none(run, tmp_path, monkeypatch):
    trained = load_trained(run)
    model = exporting.make_model(trained)
    odd = dataclasses.replace(model, card=model.card | {"class_names": ["\udcff", "\u00e4"]})
    exporting.write_triton(tmp_path / "odd", run / "config.json", odd)
    (labels,) = (tmp_path / "odd").glob("*/labels.txt")
    assert labels.read_bytes() == b"\xff\n\xc3\xa4\n"

    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting, "write_triton", full)
    (why,) = export(trained, tmp_path, ["onnx"], triton=True).refused
    assert why == f"{tmp_path / 'triton'}: cannot be written (No space left on device)"


def test_the_accuracy_of_8_bits_is_of_no_training_images(run, monkeypatch):
    monkeypatch.setattr(exporting, "LEAST", 10_000)  # so that all are compared
    trained = load_trained(run)
    _, told, *_ = (told for _, told in export(trained, run / "export", ["onnx"], int8=True).lines)
    assert " of 359 test images" in told


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (["--format=onx"], "--format=onx: expected some of .* (did you mean onnx?)"),
        (["--format="], "--format: is empty; give some of onnx"),
        (["--format=keras", "--int8"], "--int8 and --triton: are made of the ONNX file"),
        (["--batch=0"], "batch"),
        (["--config.dtype=bfloat16"], "config.dtype: .*; what may be given is config.data.*"),
        (["--output=README.md"], "--output=README.md: README.md is a file; give a folder"),
        (
            ["--config.data.source=folder", "--config.data.dir=nowhere"],
            "the images that files are compared on cannot be found (.*); give others of the same "
            "classes with --config.data.dir=FOLDER",
        ),
    ],
)
def test_mistakes_are_one_line(flags, error, workdir, command):
    done = command("--workdir", workdir, *flags, module="jaxcnn.export", check=2)
    pattern = re.escape(error).replace(r"\.\*", ".*")
    assert re.match(f"error: .*{pattern}", done.stderr.splitlines()[-1]), done.stderr
    assert not (workdir / "export").exists()


def test_a_format_that_refuses_stops_no_other(tmp_path, cache_dir, command):
    from jaxcnn.training.train import train
    from tests.conftest import small_digits

    config = small_digits(cache_dir)
    config.num_epochs, config.num_steps, config.model.norm = None, 1, "group"
    train(config, tmp_path)
    given = ["--workdir", tmp_path, "--format=keras,onnx"]
    done = command(*given, module="jaxcnn.export", check=2)
    assert "model.onnx" in done.stdout and (tmp_path / "export/model.onnx").exists()
    assert re.match(r"error: keras: has no way to say .*", done.stderr.splitlines()[-1])
