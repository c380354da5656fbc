"""What lies in a data folder and is none of its examples: never data, or left out and told."""

import logging
import os

import pytest

from jaxcnn.builders.data import build_dataset
from jaxcnn.data.folder import load_folder
from jaxcnn.data.listing import notes
from jaxcnn.evaluation.report import write_report
from jaxcnn.inference.inputs import find_inputs
from jaxcnn.search.page import _CHARTS
from tests.checks import config_of, findings
from tests.images import dicom, noise, photo, saved

PNG, JPEG = saved(photo(8, 8), "PNG"), saved(photo(8, 8), "JPEG")


def fill(root, *paths, content=PNG):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


@pytest.fixture
def pets(tmp_path):
    return fill(tmp_path / "pets", *(f"{name}/{i}.png" for name in ("cat", "dog") for i in (1, 2)))


def examples(root):
    source = load_folder(dir=str(root))["train"]
    return [source.name(i) for i in range(source.size)]


def told(root):
    """{why: what is said}."""
    return {n.why: n.what for n in notes(load_folder(dir=str(root))["train"].left_out)}


PETS = ["cat/1.png", "cat/2.png", "dog/1.png", "dog/2.png"]

LEAVINGS = [
    "@eaDir/1.png/SYNOPHOTO_THUMB_M.jpg", "#recycle/1.png", "@Recycle/1.png", ".Trashes/501/1.png",
    ".Trash-1000/files/1.png", "$RECYCLE.BIN/S-1-5/1.png", "System Volume Information/1.png",
    ".thumbnails/1.png", ".ipynb_checkpoints/1-checkpoint.png", "__MACOSX/._1.png",
    "lost+found/1.png", ".git/objects/1.png", "LOST.DIR/1.png", "Network Trash Folder/1.png",
    "Thumbs.db", "ehthumbs.db", ".DS_Store", "desktop.ini", "Icon\r", "~$labels.xlsx",
    "1.png:Zone.Identifier", "._1.png", "DICOMDIR",
]  # fmt: skip


@pytest.mark.parametrize("name", LEAVINGS)
@pytest.mark.parametrize("place", ["", "cat/", "cat/deep/"])
def test_what_systems_leave_in_folders_is_never_data_and_counted(pets, place, name):
    fill(pets, place + name)
    assert examples(pets) == PETS
    first = name.split("/")[0] + "/" * ("/" in name)
    (said,) = told(pets).items()
    assert said == ("clutter", f"never data, and not used: 1 {first}".replace("\r", "\\r"))


RUN = ["config.json", "dataset.json", "metrics.jsonl", "checkpoints/1/x", "report/samples.png"]
WRITTEN = {
    "runs/one": RUN,
    "runs/begun": [".lock"],
    "runs/three-seeds": ["eval.json", "report/seeds.png", "seed_0/config.json",
                         "seed_0/dataset.json"],
    "report": ["metrics.json", "predictions.csv", "report.html", "misclassified.png"],
    "data-check": ["check.json", "report.html", "samples.png", "duplicates.csv"],
    "compared": ["compare.json", "compare.html", "curves.png"],
    "search": ["study.journal", "trials/0/config.json", "trials/0/dataset.json", "history.png"],
    "rates": ["learning_rate.json", "learning_rate.png"],
    "exported": ["model.json", "model.onnx"],
    "cache": ["0a1b/what.json", "0a1b/label.npy", "0a1b/image.npy"],
}  # fmt: skip


@pytest.mark.parametrize("folder", WRITTEN)
@pytest.mark.parametrize("place", ["", "cat/"])
def test_what_jaxcnn_wrote_is_no_class_and_no_example(pets, place, folder):
    fill(pets, *(f"{place}{folder}/{name}" for name in WRITTEN[folder]))
    assert load_folder(dir=str(pets))["train"].class_names == ("cat", "dog")
    assert examples(pets) == PETS
    (said,) = told(pets).items()
    assert said[0] == "written_by_jaxcnn" and f"{place}{folder}" in said[1]


def test_a_class_in_which_a_check_was_written_goes_on_to_be_a_class(pets):
    fill(pets, "cat/check.json", "cat/report.html", "cat/samples.png", "dog/samples.png")
    assert examples(pets) == [*PETS, "dog/samples.png"]  # where nothing else is jaxcnn's
    assert told(pets) == {
        "written_by_jaxcnn": "written by jaxcnn, and not used: cat/check.json, cat/report.html, "
        "cat/samples.png"
    }


def test_a_folder_with_others_in_it_is_not_taken_for_jaxcnns(pets):
    """Where a check was written into a class whose images stand deeper, or into the data."""
    for place in ("", "cat/"):
        fill(pets, *(place + name for name in ("check.json", "report.html", "samples.png")))
    fill(pets, "dog/config.json", "dog/dataset.json", "dog/mine/3.png")
    for name in ("1", "2"):
        (pets / "cat/deep").mkdir(exist_ok=True)
        (pets / f"cat/{name}.png").rename(pets / f"cat/deep/{name}.png")
    expected = ["cat/deep/1.png", "cat/deep/2.png", "dog/1.png", "dog/2.png", "dog/mine/3.png"]
    assert examples(pets) == expected
    assert told(pets) == {
        "written_by_jaxcnn": "written by jaxcnn, and not used: check.json, report.html, "
        "samples.png and 5 more"
    }
    found = [one.path.removeprefix(f"{pets}/") for one in find_inputs([str(pets)])]
    assert found == expected


def test_a_run_beside_train_is_no_unused_folder_and_one_in_it_no_class(pets):
    root = pets.parent / "root"
    root.mkdir()
    pets.rename(root / "train")
    fill(root, *(f"{place}runs/a/{name}" for place in ("", "train/") for name in RUN))
    assert examples(root) == [f"train/{name}" for name in PETS]
    assert told(root) == {
        "written_by_jaxcnn": "written by jaxcnn, and not used: runs/, train/runs/a/"
    }


def test_every_picture_of_a_report_and_of_a_search_is_known(assessment, pets, tmp_path):
    _, pictures = write_report(assessment, tmp_path / "report")
    assert len(pictures) > 5
    for name in (*pictures, *_CHARTS, "occlusion", "robustness", "projection", "seeds"):
        fill(pets, f"cat/report/{name}.png")
    fill(pets, "cat/report/metrics.json", "cat/report/predictions.csv")
    assert examples(pets) == PETS


def test_files_of_other_kinds_are_counted_by_kind_with_what_is_in_them(pets):
    fill(pets, "cat/b.jpg_large", "cat/c.jpg_large", "dog/d.jpg_large", content=JPEG)
    fill(pets, "dog/e.jxl", content=b"\xff\x0a" + bytes(20))
    fill(pets, "dog/f.txt", "g.txt", "dog/notes", content=b"rex")
    assert examples(pets) == PETS
    assert told(pets) == {
        "kinds_not_read": "7 files are of kinds that are not read: 3 .jpg_large, JPEG inside "
        "(cat/b.jpg_large, ...), 1 .jxl, a JPEG XL image (dog/e.jxl), 2 .txt (g.txt, ...), 1 "
        "without a suffix (dog/notes)"
    }


def test_files_without_a_suffix_are_read_by_their_first_bytes(pets):
    fill(pets, "cat/download", content=JPEG)
    slice_of_a_scan = dicom(noise(8, 8, dtype="uint16"))
    fill(pets, "cat/IM0001", "dog/1.2.840.113619.17", "dog/IM.0002", content=slice_of_a_scan)
    fill(pets, "cat/LICENSE", content=b"MIT")
    fill(pets, "dog/photo.jpg.1", content=JPEG)  # as wget calls a second download
    os.mkfifo(pets / "dog/pipe")
    new = {"cat/download", "cat/IM0001", "dog/1.2.840.113619.17", "dog/IM.0002"}
    assert set(examples(pets)) == {*PETS, *new}
    assert told(pets)["kinds_not_read"].startswith("3 files are of kinds that are not read: 1 .1, ")


def test_loose_images_and_folders_of_two_underscores_are_told(pets):
    fill(pets, "a.png", "b.jpg", "__background__/0.png", "dog/__more/1.png")
    assert examples(pets) == PETS
    assert told(pets) == {
        "loose_images": "2 images are in no class folder, and not used: a.png, b.jpg",
        "underscores": "2 folders are not used, as the name begins with __: __background__/, "
        "dog/__more/",
    }


def test_training_and_check_data_say_the_same(pets, tmp_path, caplog):
    fill(pets, *(f"{name}/x{i}.png" for name in ("cat", "dog") for i in range(5)))
    fill(pets, "stray.png", "cat/.DS_Store", "dog/Thumbs.db", *(f"runs/a/{name}" for name in RUN))
    fill(pets, "cat/a.jxl", content=b"\xff\x0a" + bytes(20))
    with caplog.at_level(logging.INFO):
        dataset = build_dataset(config_of(pets, cache_dir=str(tmp_path / "cache")))
    logged = [r for r in caplog.records if r.getMessage().startswith("config.data.dir=")]
    found = findings(pets, tmp_path)
    for name, what in told(pets).items():
        assert found[name][:2] == (False, what)
        (record,) = [r for r in logged if what in r.getMessage()]
        assert (record.levelname == "INFO") == (name in ("clutter", "written_by_jaxcnn"))
    assert len(logged) == len(told(pets)) == 4
    assert len(dataset.splits["train"].source.paths) == 14
