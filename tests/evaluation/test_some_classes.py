"""New pictures of one class, or of some: a rule of training does not hold for a model in use."""

import json

import numpy as np
import pytest
from PIL import Image

from jaxcnn.builders.data import build_dataset
from jaxcnn.checking.check import check
from jaxcnn.cli.parsing import with_overrides
from jaxcnn.config import default_config, resolve
from jaxcnn.errors import UserError
from jaxcnn.evaluation.assess import assess, find_data
from jaxcnn.evaluation.report import write_report
from jaxcnn.inference.trained import load_trained


def made(root, names, count=5, size=8):
    """Class folders of small grey pictures."""
    draw = np.random.default_rng(0)
    for name in names:
        (root / name).mkdir(parents=True)
        for number in range(count):
            pixels = draw.integers(0, 256, (size, size), np.uint8)
            Image.fromarray(pixels).save(root / name / f"{number}.png")
    return root


def data_config(kind, tmp_path, names):
    """A config whose data are of these classes, as folders, a table or arrays."""
    config = default_config()
    config.num_epochs, config.data.cache_dir = 1, str(tmp_path / "cache")
    root = made(tmp_path / "new", names)
    paths = sorted(root.glob("*/*.png"))
    if kind == "csv":
        table = [f"{path},{path.parent.name}\n" for path in paths]
        (tmp_path / "table.csv").write_text("path,label\n" + "".join(table))
    if kind == "arrays":
        images = np.stack([np.asarray(Image.open(path))[..., None] for path in paths])
        labels = np.array([path.parent.name for path in paths])
        np.savez(tmp_path / "new.npz", image=images, label=labels)
    places = {"folder": root, "csv": tmp_path / "table.csv", "arrays": tmp_path / "new.npz"}
    config.data.source, config.data.dir = kind, str(places[kind])
    return config


@pytest.mark.parametrize("kind", ["folder", "csv", "arrays"])
def test_one_class_is_not_trained(kind, tmp_path):
    config = resolve(data_config(kind, tmp_path, ["7"]))
    line = r"config\.data\.dir='.*': only one class \('7'\), and a classifier needs two"
    with pytest.raises(UserError, match=line):
        build_dataset(config)
    with pytest.raises(UserError, match=line):
        check(config, tmp_path / "checked")


@pytest.mark.parametrize("names", [["7"], ["0", "9"]])
@pytest.mark.parametrize("kind", ["folder", "csv", "arrays"])
def test_pictures_of_some_classes_are_evaluated(kind, names, workdir, tmp_path):
    trained, new = load_trained(workdir), data_config(kind, tmp_path, names)
    config = trained.config.copy_and_resolve_references().unlock()
    config.data = new.data
    config.report.resamples = 100
    keys = ["data.source", "data.dir", "data.cache_dir", "report.resamples"]
    trained = trained._replace(config=with_overrides(config, keys))
    data = find_data(trained)
    assert {*data.parts[0].label.tolist()} == {int(name) for name in names}
    assessment = assess(trained, data)
    write_report(assessment, tmp_path / "report")

    def no(word):
        raise AssertionError(f"{word} in JSON")

    text = (tmp_path / "report/metrics.json").read_text()
    metrics = json.loads(text, parse_constant=no)["metrics"]
    assert metrics["accuracy"]["value"] is not None
    auc = metrics["roc_auc_macro"]
    assert (auc["value"] is None) == (len(names) == 1)
    assert len(names) > 1 or auc["reason"] == "only one class among the labels"
