"""Labels that mean the same class are one, odd names are told, and numbers get names."""

import json
import unicodedata

import numpy as np
import pytest

import jaxcnn
from jaxcnn.builders.data import build_dataset, build_sources
from jaxcnn.config import default_config, resolve
from jaxcnn.data.arrays import from_arrays
from jaxcnn.data.csv import load_csv
from jaxcnn.data.labels import alike, class_of_labels, several_in_one
from jaxcnn.errors import UserError
from tests.checks import findings
from tests.images import noise, saved

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def table(folder, labels, header="path,label", groups=()):
    """A CSV file of one small image a label."""
    for k in range(len(labels)):
        (folder / f"{k}.png").write_bytes(saved(noise(8, 8, 3, seed=k), "PNG"))
    groups = groups or [""] * len(labels)
    rows = [f"{k}.png,{label}" + (f",{group}" if group else "")
            for k, (label, group) in enumerate(zip(labels, groups, strict=True))]  # fmt: skip
    (folder / "t.csv").write_text("\n".join([header, *rows]), encoding="utf-8")
    return folder / "t.csv"


@pytest.mark.parametrize(
    ("spellings", "classes"),
    [
        (["cat", "cat ", "\tcat", "dog"], ("cat", "dog")),
        (["cat", "cat\u00a0", "cat\u3000", "dog"], ("cat", "dog")),
        ([" cat", " dog", " cat"], ("cat", "dog")),
        (["1", "1.0", "0", "0.0", "10"], ("0", "1", "10")),
        (["-1", "-1.00", "2"], ("2", "-1")),
        ([NFC, NFD, "thé"], (NFC, "thé")),
        ([NFD + " ", NFC, "x"], (NFC, "x")),
    ],
)
def test_spellings_of_one_label_are_one_class_and_told(tmp_path, caplog, spellings, classes):
    labels = spellings * 3
    sources = load_csv(dir=str(table(tmp_path, labels)))
    assert sources["train"].class_names == classes
    assert "labels that are spelled in other ways: " in caplog.text
    assert len(caplog.records) == 1
    made = from_arrays(
        {"image": noise(len(labels), 8, 8), "label": np.array(labels)}, "config.data.dir='x'"
    )
    assert {*made["train"].class_names} == {*classes}
    np.testing.assert_array_equal(  # the order of arrays' classes is NumPy's
        [made["train"].class_names[k] for k in made["train"].labels()],
        [sources["train"].class_names[k] for k in sources["train"].labels()],
    )


@pytest.mark.parametrize(
    "labels",
    [["1.0", "2.0"], [NFD, "x"], ["01", "1"], ["1.5", "1"], ["Cat", "cat"], ["v1.0", "v1"]],
)
def test_what_is_spelled_in_one_way_stays_as_it_is(tmp_path, caplog, labels):
    assert {*load_csv(dir=str(table(tmp_path, labels)))["train"].class_names} == {*labels}
    assert not caplog.records
    assert class_of_labels("", labels) == {label: label for label in labels}


def test_groups_that_differ_by_a_space_are_one_group(tmp_path):
    file = table(tmp_path, ["a", "b"] * 2, "path,label,group", ["p1", "p1 ", " p1", "p2"])
    unit = load_csv(dir=str(file))["train"].unit
    assert len(set(unit[:3].tolist())) == 1 and len(set(unit.tolist())) == 2


def test_a_label_of_spaces_is_none(tmp_path):
    with pytest.raises(UserError, match="line 2 has no label"):
        load_csv(dir=str(table(tmp_path, [" ", "b"])))


@pytest.mark.parametrize(
    ("names", "groups"),
    [
        (["Cat", "cat", "dog"], [["Cat", "cat"]]),
        (["golden retriever", "golden_retriever", "Golden-Retriever"], 1),
        (["ｃａｔ", "cat"], 1),
        (["STRASSE", "straße"], 1),
        (["new  york", "new york"], 1),
        (["a", "A", "b", "B"], []),  # letters
        (["c", "C", "c++"], []),
        (["cat", "cats"], []),
    ],
)
def test_names_that_look_alike_are_found(names, groups):
    assert len(alike(names)) == (groups if isinstance(groups, int) else len(groups))


@pytest.mark.parametrize(
    ("names", "several"),
    [
        (["Effusion", "Mass", "Effusion|Mass"], ["Effusion|Mass"]),
        (["No Finding", "Mass|Nodule", "Mass|Effusion|Nodule", "Edema"], 2),
        (["red", "red; blue", "green"], 1),
        (["desert,mountains", "desert", "mountains", "sea"], 1),
        (["cat+dog", "cat", "dog"], 1),
        (["cat & dog", "dog & bird", "cat & bird"], 3),
        (["black, white", "salt & pepper", "salt", "AC/DC"], []),
        (["a|b", "c|d"], []),
        (["n01440764, tench", "n01443537, goldfish"], []),
    ],
)
def test_names_that_are_several_labels_in_one_are_found(names, several):
    assert len(several_in_one(names)) == (several if isinstance(several, int) else len(several))


def folders(root, names, count=6):
    for k, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for i in range(count):
            (root / name / f"{i}.png").write_bytes(saved(noise(8, 8, 3, seed=9 * k + i), "PNG"))
    return root


def test_folders_whose_names_are_spellings_of_one_are_one_class(tmp_path, caplog):
    folders(tmp_path / "d" / "train", [NFC, "dog"])
    folders(tmp_path / "d" / "val", [NFD, "dog "], 3)
    folders(tmp_path / "one", [NFC, NFD, "dog"])
    sources = build_sources(config_of(tmp_path / "d"))
    assert sources["train"].class_names == sources["validation"].class_names == (NFC, "dog")
    assert len(sources["validation"].paths) == 6 and len(caplog.records) == 1
    assert "folders that are spelled in other ways: " in caplog.text
    source = build_sources(config_of(tmp_path / "one"))["train"]
    assert source.class_names == (NFC, "dog") and np.bincount(source.labels()).tolist() == [12, 6]
    contents, _ = source.read(np.arange(18))
    assert all(isinstance(content, bytes) for content in contents)


def config_of(folder, **data):
    config = default_config()
    config.data.source, config.data.dir, config.num_epochs = "folder", str(folder), 1
    config.data.cache_dir, config.batch_size = str(folder.parent / "cache"), 8
    config.report.at_end = False
    config.model.filters, config.model.convs_per_stage = (4,), 1
    with config.ignore_type():
        config.data.update(data)
    return resolve(config)


def test_check_data_and_training_tell_of_odd_names(tmp_path, caplog):
    names = ["Cat", "cat", "Mass", "Effusion|Mass"]
    found = findings(folders(tmp_path / "d", names), tmp_path)
    assert found["alike_names"][:2] == (
        True, "1 name of classes in more than one spelling: 'Cat' and 'cat'"
    )  # fmt: skip
    assert "1 class that look like several labels in one: 'Effusion|Mass'" in found[
        "several_labels"
    ][1].replace("looks", "look")
    build_dataset(config_of(tmp_path / "d"))
    assert "classes that look alike: 'Cat' and 'cat'" in caplog.text
    assert "look like several labels in one: 'Effusion|Mass'" in caplog.text


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("classes.txt", "zero\none\nten\n"),
        ("classes.txt", "\ufeff0 zero\r\n1: one\r\n10\tten\r\n"),
        ("labels.csv", "ClassId,Name\n10,ten\n0,zero\n1,one\n99,more\n"),
        ("labels.csv", "zero\none\nten\n"),
        ("cat_to_name.json", '{"0": "zero", "10": "ten", "1": "one", "2": "two"}'),
        ("class_names.json", '["zero", "one", "ten"]'),
    ],
)
def test_folders_that_are_numbers_get_the_names_of_a_file(tmp_path, file, text):
    root = folders(tmp_path / "d", ["0", "1", "10"])
    (root / file).write_text(text, encoding="utf-8")
    assert build_sources(config_of(root))["train"].class_names == ("zero", "one", "ten")
    (tmp_path / file).write_text((root / file).read_text())
    (root / file).unlink()
    assert build_sources(config_of(root))["train"].class_names == ("0", "1", "10")
    given = config_of(root, class_names=str(tmp_path / file))
    assert build_sources(given)["train"].class_names == ("zero", "one", "ten")


def test_a_file_that_does_not_fit_is_not_used_and_other_folders_need_none(tmp_path):
    root = folders(tmp_path / "d", ["0", "1", "10"])
    (root / "classes.txt").write_text("zero\none\n")
    (root / "labels.csv").write_text("path,label\n0/0.png,x\n0/1.png,y\n")
    (root / "names.json").write_text("{")
    assert build_sources(config_of(root))["train"].class_names == ("0", "1", "10")
    named = folders(tmp_path / "named", ["a", "b"])
    (named / "classes.txt").write_text("x\ny\n")
    assert build_sources(config_of(named))["train"].class_names == ("a", "b")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a", "b"), r"2 names do not fit the 3 classes of the data \(0, 1, 10\)"),
        (("a", "b", "a"), "classes 0 and 2 are both called 'a'; give them different names"),
        ("nothing.txt", "no such file; give names, or a file of them"),
        ((), "expected a tuple of names|a tuple of names, or the path"),
        (5, "a tuple of names, or the path"),
    ],
)
def test_names_that_do_not_fit_are_refused(tmp_path, names, message):
    root = folders(tmp_path / "d", ["0", "1", "10"], 1)
    with pytest.raises(UserError, match=message):
        build_sources(config_of(root, class_names=names))


def test_an_array_with_one_name_twice_is_refused(tmp_path):
    np.savez(
        tmp_path / "a.npz",
        image=noise(6, 8, 8), label=np.arange(6) % 3, class_names=np.array(["a", "b", "a"]),
    )  # fmt: skip
    config = default_config()
    config.data.source, config.data.dir, config.num_epochs = "arrays", str(tmp_path / "a.npz"), 1
    with pytest.raises(UserError, match="classes 0 and 2 are both called 'a'"):
        build_sources(resolve(config))


def test_a_run_answers_with_the_names_and_an_older_one_with_its_own(tmp_path):
    root = folders(tmp_path / "d", ["0", "1"], 12)
    jaxcnn.train(config_of(root), tmp_path / "old")
    (root / "classes.txt").write_text("cat\ndog\n")
    jaxcnn.train(config_of(root), tmp_path / "new")
    for run, names in (("old", ("0", "1")), ("new", ("cat", "dog"))):
        trained = jaxcnn.load_trained(tmp_path / run)
        assert trained.class_names == names
        assert jaxcnn.load_classifier(tmp_path / run).class_names == names
        assert jaxcnn.find_data(trained).split == "test"
    same = [json.loads((tmp_path / run / "dataset.json").read_text()) for run in ("old", "new")]
    assert same[0]["identity"] == same[1]["identity"]
