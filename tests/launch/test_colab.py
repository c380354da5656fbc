"""launch/colab.ipynb runs from top to bottom, and shows what it says it shows."""

import base64
import shutil
import signal

import cv2
import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient
from sklearn.datasets import load_digits

from jaxcnn.builders.auto import prepare
from jaxcnn.builders.data import build_dataset
from jaxcnn.config.keys import resolve
from jaxcnn.runtime.preemption import Interrupted
from tests.processes import ROOT, environment

NOTEBOOK = ROOT / "launch" / "colab.ipynb"
PICTURES = (
    "curves", "confusion", "class-bars", "misclassified", "filters", "feature-maps", "grad-cam",
    "neighbours", "look", "mine",
)  # fmt: skip
# What stands in for a student's patience: a smaller network, and less to learn.
SMALL = """
config.num_epochs = 2
config.model.filters = (8, 16)
config.model.convs_per_stage = 1
config.data.cache_dir = {cache_dir!r}
"""
# A student runs the cell again, and then changes the config of a run that is there.
AGAIN = "jaxcnn.train(config, workdir)"
CHANGED = "config.batch_size = 32\njaxcnn.train(config, workdir)"


def notebook():
    return nbformat.read(NOTEBOOK, as_version=4)


def source_of(name):
    (cell,) = (cell for cell in notebook().cells if cell.id == name)
    return cell.source


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, cache_dir):
    """What the cells print and show, by id. TensorBoard's server is not started."""
    book, folder = notebook(), tmp_path_factory.mktemp("colab")
    cells = [c for c in book.cells if "interactive" not in c.metadata.get("tags", [])]
    (place,) = (k for k, c in enumerate(cells) if "parameters" in c.metadata.get("tags", []))
    small = nbformat.v4.new_code_cell(SMALL.format(cache_dir=str(cache_dir)))
    again = nbformat.v4.new_code_cell(AGAIN, id="again")
    changed = nbformat.v4.new_code_cell(CHANGED, id="changed")
    changed.metadata["tags"] = ["raises-exception"]
    book.cells = [*cells[: place + 1], small, *cells[place + 1 :], again, changed]
    client = NotebookClient(
        book, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute(env=environment(2))
    assert (folder / "runs/digits/report/report.html").is_file()
    assert (folder / "runs/digits/export/model.onnx").is_file()
    return {cell.id: cell.outputs for cell in book.cells if cell.cell_type == "code"}


def printed(outputs):
    return "".join(output.text for output in outputs if output.output_type == "stream")


@pytest.mark.parametrize("name", PICTURES)
def test_a_cell_shows_its_picture_once(outputs, name):
    (output,) = (one for one in outputs[name] if "image/png" in one.get("data", {}))
    png = np.frombuffer(base64.b64decode(output.data["image/png"]), np.uint8)
    picture = cv2.imdecode(png, cv2.IMREAD_GRAYSCALE)
    assert picture.std() > 10, "an empty picture"
    assert len(output.data["text/plain"]) < 200, "a flood of text for those who cannot see it"


def test_nothing_is_installed_where_jaxcnn_is(outputs):
    assert printed(outputs["install"]) == "jaxcnn is installed already.\n"


def test_all_devices_are_used(outputs):
    assert printed(outputs["devices"]) == "2 x cpu\n"
    assert "compiled for 2 cpu devices" in printed(outputs["train"])


def test_the_pictures_are_looked_at_before_training(outputs):
    assert "1,797 images" in printed(outputs["look"])


def test_a_picture_of_ones_own_is_named_at_the_end(outputs):
    assert printed(outputs["mine"]).count("%") == 3


def test_the_network_is_exported_at_the_end(outputs):
    assert printed(outputs["export"]).startswith("model.onnx: ")
    assert "model.json: " in printed(outputs["export"])


def test_training_and_its_numbers_are_printed(outputs):
    assert "test accuracy" in printed(outputs["train"])
    assert "balanced accuracy" in printed(outputs["assess"])
    assert all(output.get("name") != "stderr" for output in outputs["train"])


def test_the_report_opens_in_the_notebook(outputs):
    (output,) = outputs["report"]
    assert "<iframe srcdoc=" in output.data["text/html"]


def test_the_same_cell_goes_on_with_a_run_and_other_settings_are_refused_in_one_line(outputs):
    assert "runs/digits is finished" in printed(outputs["again"])
    (error,) = outputs["changed"]
    (line,) = error.traceback
    assert line.startswith("error: --workdir=runs/digits: the run in it has another config")


def chosen(dataset):
    """The config that the notebook makes where its first line says `dataset`."""
    names = {}
    exec(source_of("choose").replace('dataset = "digits"', f'dataset = "{dataset}"'), names)
    return names["config"]


def test_a_stopped_cell_says_that_it_is_saved_and_how_to_go_on():
    """IPython prints these lines in place of a traceback."""
    stopped = Interrupted(signal.SIGINT, 7)._render_traceback_()
    assert stopped == ["stopped, step 7 is saved; run the cell again to resume"]


def test_cifar10_is_one_word_away():
    config = resolve(chosen("cifar10"))
    assert (config.data.source, config.data.name, config.optimizer.name) == (
        "tfds",
        "cifar10",
        "sgd",
    )


def test_a_zip_of_photos_is_one_word_away(tmp_path, monkeypatch):
    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        if label < 2:
            folder = tmp_path / "mine" / ("zero", "one")[label]
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{number}.png"), image * 15)
    shutil.make_archive(tmp_path / "photos", "zip", tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    config = prepare(chosen("photos"))
    assert config.num_epochs > 0
    assert build_dataset(config).class_names == ("one", "zero")


def test_the_file_is_clean():
    book = notebook()
    nbformat.validate(book)
    assert (book.nbformat, book.nbformat_minor) == (4, 5)
    assert book.metadata.kernelspec.name == "python3"
    for cell in book.cells:
        assert cell.source
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
