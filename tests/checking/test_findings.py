"""What is found in data that would harm training, or that one should know."""

import json

import cv2
import numpy as np
import pytest

from jaxcnn.checking.check import check
from jaxcnn.config import default_config, resolve
from tests.checks import config_of, findings, rows
from tests.dirt import encoded, make_folder, picture, write


def test_with_skip_unreadable_files_are_told_and_no_error(tmp_path):
    folder = make_folder(tmp_path / "pets")
    write(folder / "cat" / "zero.png", b"")
    found = findings(folder, tmp_path, on_bad_image="skip")
    assert found == {
        "unreadable": (
            False,
            "1 of 21 images are left out: cat/zero.png is empty (0 bytes)",
            "mend or remove them (unreadable.csv lists all)",
        )
    }


def test_an_image_under_two_labels_in_two_splits_and_three_times(tmp_path):
    root = tmp_path / "pets"
    for role in ("train", "test"):
        make_folder(root / role, count=8)
    twin, triple, copied = (encoded(picture(seed)) for seed in (1, 2, 3))
    write(root / "train/cat/twin.png", twin)
    write(root / "train/dog/twin.png", twin)
    for place in ("train/cat/a.png", "train/cat/b.png", "test/cat/c.png"):
        write(root / place, triple)
    for place in ("test/dog/p.png", "test/dog/q.png", "test/dog/r.png"):
        write(root / place, copied)
    found = findings(root, tmp_path, holdout=0.0)
    assert found["same_image_two_labels"][:2] == (
        True,
        "1 image is under more than one label (2 examples): "
        "train/cat/twin.png (cat) = train/dog/twin.png (dog)",
    )
    assert found["same_image_two_splits"][:2] == (
        True,
        "1 image is in more than one split (1 in train and test): "
        "train/cat/a.png (train) = test/cat/c.png (test) = train/cat/b.png (train)",
    )
    assert found["copies"][:2] == (
        False,
        "2 identical copies within one class and split: "
        "test/dog/p.png (test) = test/dog/q.png (test) = test/dog/r.png (test)",
    )
    listed = rows(tmp_path / "out" / "duplicates.csv")
    assert [(row["group"], row["image"], row["split"]) for row in listed] == [
        ("1", "train/cat/twin.png", "train"), ("1", "train/dog/twin.png", "train"),
        ("2", "train/cat/a.png", "train"), ("2", "test/cat/c.png", "test"),
        ("2", "train/cat/b.png", "train"), ("3", "test/dog/p.png", "test"),
        ("3", "test/dog/q.png", "test"), ("3", "test/dog/r.png", "test"),
    ]  # fmt: skip
    facts = json.loads((tmp_path / "out" / "check.json").read_text())
    assert facts["duplicates"] == {
        "images": 3, "copies": 5, "under_two_labels": 1, "in_two_splits": 1
    }  # fmt: skip
    assert (tmp_path / "out" / "report.html").read_text().count("data:image/png;base64") == 9


def test_classes_with_few_no_or_too_many_images(tmp_path):
    root = tmp_path / "zoo" / "train"
    for name, count in (("cat", 4), ("dog", 4), ("emu", 2), ("fox", 13)):
        make_folder(root, (name,), count)
    make_folder(tmp_path / "zoo" / "val", ("cat", "dog", "emu"), count=1)
    found = findings(tmp_path / "zoo", tmp_path)
    assert found["few_images"][:2] == (
        True, "1 class with fewer than 3 images to train on: 'emu' (2)"
    )  # fmt: skip
    assert found["class_not_in_validation"][:2] == (
        False, "1 class without any image for validation: 'fox'"
    )  # fmt: skip
    assert found["imbalance"][:2] == (
        False, "class 'fox' has 6.5 times the training images of 'emu' (13 and 2)"
    )  # fmt: skip
    assert found["no_test"][:2] == (False, "no images for test")
    assert len(found) == 4


def test_groups_in_two_given_splits_but_not_equal_paths(tmp_path):
    root = tmp_path / "scans"
    for role in ("train", "test"):
        make_folder(root / role)
    assert findings(root, tmp_path, holdout=0.0) == {}  # cat/00.png is in both, another image
    for role, seed in (("train", 1), ("test", 2)):
        write(root / role / "cat" / f"anna_{seed}.png", encoded(picture(seed)))
    found = findings(root, tmp_path, holdout=0.0, group_pattern=r"([a-z]+|\d)[_\d]*\.png$")
    assert found["group_in_two_splits"][0] is True
    assert found["group_in_two_splits"][1] == (
        "2 groups are in more than one split, such as '0' of train/cat/00.png (train) and "
        "test/cat/00.png (test)"
    )
    listed = rows(tmp_path / "out" / "groups.csv")
    anna = [tuple(row.values()) for row in listed if row["group"] == "anna"]
    assert anna == [
        ("anna", "train/cat/anna_1.png", "cat", "train"),
        ("anna", "test/cat/anna_2.png", "cat", "test"),
    ]
    assert len({row["group"] for row in listed}) == 2
    assert "Groups in more than one split" in (tmp_path / "out" / "report.html").read_text()


def test_odd_sizes_plain_images_and_files_that_are_not_used(tmp_path):
    root = make_folder(tmp_path / "pets")
    write(root / "cat" / "long.png", encoded(picture(1, 24, 80)))
    write(root / "cat" / "tiny.png", encoded(picture(2, 8, 10)))
    write(root / "dog" / "white.png", encoded(np.full((24, 24, 3), 255, np.uint8)))
    write(root / "dog" / "notes.txt", b"rex")
    write(root / "stray.png", encoded(picture(3)))
    found = {kind: finding[:2] for kind, finding in findings(root, tmp_path).items()}
    assert found == {
        "mixed_sizes": (False, "3 sizes of images, and no config.data.image_size"),
        "small_images": (
            False,
            "1 image is less than half as large as the median (24 pixels): cat/tiny.png (10x8)",
        ),
        "long_images": (False, "1 image is 3 times as long as wide or more: cat/long.png (80x24)"),
        "plain_images": (False, "1 image is of a single colour: dog/white.png"),
        "kinds_not_read": (False, "1 file is of kinds that are not read: 1 .txt (dog/notes.txt)"),
        "loose_images": (False, "1 image is in no class folder, and not used: stray.png"),
    }
    found = findings(root, tmp_path, image_size=64)
    assert "less than half as large as config.data.image_size (64" in found["small_images"][1]
    assert "mixed_sizes" not in found


def test_a_format_that_gives_the_class_away(tmp_path):
    root = make_folder(tmp_path / "pets")
    for i in range(10):
        (root / "dog" / f"{i:02}.png").unlink()
        write(root / "dog" / f"{i:02}.pgm", encoded(picture(i, channels=1), ".pgm"))
    found = findings(root, tmp_path)
    assert [(kind, finding[1]) for kind, finding in found.items()] == [
        ("format_tells_class", "the file's format alone tells the class of 100% of the images"),
        ("mode_tells_class", "the file's colour mode alone tells the class of 100% of the images"),
    ]
    facts = json.loads((tmp_path / "out" / "check.json").read_text())
    assert facts["formats"] == {"png": 10, "pnm": 10}
    assert facts["modes"] == {"RGB": 10, "grey": 10}


def test_what_training_refuses_to_split_is_a_finding(tmp_path):
    found = findings(make_folder(tmp_path / "pets", count=3), tmp_path, test_holdout=0.01)
    assert found["splits"] == (
        True, "config.data.test_holdout=0.01: of 6 images that is none for test",
        "give a larger share, or 0",
    )  # fmt: skip


def test_nothing_readable_is_told_and_no_crash(tmp_path):
    root = make_folder(tmp_path / "pets")
    check(config_of(root), tmp_path / "out")
    for path in root.rglob("*.png"):
        path.write_bytes(b"")
    found = findings(root, tmp_path)
    assert found["unreadable"][1].startswith("20 of 20 images cannot be used: cat/00.png is empty")
    assert not (tmp_path / "out" / "samples.png").exists()


@pytest.mark.parametrize("source", ["digits", "synthetic"])
def test_other_sources_are_clean(source, tmp_path):
    config = default_config()
    config.num_epochs, config.data.source = 1.0, source
    config.augment = (("crop", 1), "flip")
    checked = check(resolve(config), tmp_path)
    assert checked.findings == []
    sheet = cv2.imread(str(tmp_path / "samples.png"))
    check(resolve(config), tmp_path)
    assert (sheet == cv2.imread(str(tmp_path / "samples.png"))).all()


def test_arrays_and_csv_name_their_examples(tmp_path):
    image = np.stack([picture(i) for i in range(30)])
    image[7] = image[2]
    np.savez(tmp_path / "a.npz", image=image, label=np.arange(30) % 2)
    found = findings(tmp_path / "a.npz", tmp_path, source="arrays", test_holdout=0.0, holdout=0.0)
    assert found["same_image_two_labels"][1] == (
        "1 image is under more than one label (2 examples): number 2 (0) = number 7 (1)"
    )
    root = make_folder(tmp_path / "pets")
    lines = [f"{path},{path.parent.name}" for path in sorted(root.rglob("*.png"))]
    (tmp_path / "t.csv").write_text("\n".join(["path,label", *lines, f"{tmp_path}/no.png,cat"]))
    found = findings(tmp_path / "t.csv", tmp_path, source="csv")
    assert found["unreadable"][1] == (
        f"1 of 21 images cannot be used: {tmp_path}/no.png cannot be read (No such file or "
        "directory)"
    )
