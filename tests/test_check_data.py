"""What check_data says of clean and of dirty data, and how it ends."""

import csv
import json
import re

import cv2
import numpy as np
import pytest

from jaxcnn.build import build_dataset
from jaxcnn.check import check
from jaxcnn.config import default_config, resolve
from jaxcnn.data.splits import channel_statistics
from jaxcnn.errors import UserError
from tests.dirt import encoded, make_folder, picture, write

FILES = {"check.json", "duplicates.csv", "report.html", "samples.png", "unreadable.csv"}


def config_of(folder, source="folder", **data):
    config = default_config()
    config.num_epochs = 1.0
    config.data.source = source
    config.data.dir = str(folder)
    for key, value in data.items():
        config.data[key] = value
    return resolve(config)


def findings(folder, tmp_path, **data):
    """{kind: (harm, what, advice)}."""
    checked = check(config_of(folder, **data), tmp_path / "out")
    return {f.kind: f[1:] for f in checked.findings}


def arguments(folder, output):
    return (
        "--config", "experiments/digits.py", "--config.data.source=folder",
        f"--config.data.dir={folder}", f"--output={output}",
    )  # fmt: skip


def rows(path):
    with path.open(newline="", errors="surrogateescape") as lines:
        return list(csv.DictReader(lines))


def test_clean_data_exit_0_and_leave_five_files(tmp_path, command):
    folder, output = make_folder(tmp_path / "pets"), tmp_path / "out"
    done = command(*arguments(folder, output), module="jaxcnn.check_data", check=0)
    assert done.stdout == (
        "20 images in 2 classes: 14 train + 2 validation + 4 test\n"
        "              train  validation        test\n"
        "  cat             7           1           2\n"
        "  dog             7           1           2\n"
        "\n"
        "formats: 20 png · colours: 20 RGB\n"
        "sizes (width x height): 24x24\n"
        + re.search(r"train pixels: .*\n", done.stdout)[0]
        + f"\nmore in {output}/report.html\n"
        "nothing found that would harm training\n"
    )
    assert {path.name for path in output.iterdir()} == FILES
    facts = json.loads((output / "check.json").read_text())
    assert facts["clean"] is True and facts["findings"] == []
    assert facts["classes"]["cat"] == {"train": 7, "validation": 1, "test": 2}
    assert (facts["sizes"], facts["imbalance"]) == ([[24, 24, 20]], 1.0)


def test_every_unreadable_file_is_listed_and_the_first_ten_named(tmp_path, command):
    folder, output = make_folder(tmp_path / "pets"), tmp_path / "out"
    jpeg = encoded(picture(1, 64, 64), ".jpg")
    bad = {
        "cat/a.jpg": (b"", "is empty (0 bytes)"),
        "cat/b.jpg": (jpeg[: len(jpeg) // 2], "is cut short"),
        "cat/c.png": (b"a poem", "is not an image (no format jaxcnn knows)"),
        "dog/d.ppm": (
            b"P6 2 2 255\n" + b"\r\n" * 7,
            "has 14 bytes of pixels where its header promises 12 (changed by a line-ending "
            "conversion?)",
        ),
    } | {f"dog/x{i}.gif": (b"GIF89a", "is cut short") for i in range(8)}
    for name, (content, _) in bad.items():
        write(folder / name, content)
    done = command(*arguments(folder, output), module="jaxcnn.check_data", check=2)

    told = [f"{name} {reason}" for name, (_, reason) in sorted(bad.items())]
    lines = done.stdout.splitlines()
    assert [x for x in lines if x.startswith("unreadable:")] == [
        f"unreadable: {one}" for one in told[:10]
    ]
    what = f"12 of 32 images cannot be used: {', '.join(told[:3])} and 9 more"
    assert f"- {what}" in lines
    assert done.stderr.splitlines()[-1] == (
        f"error: 1 finding would harm training: {what}; see {output}/report.html"
    )
    listed = [f"{row['image']} {row['reason']}" for row in rows(output / "unreadable.csv")]
    assert listed == told
    page = (output / "report.html").read_text()
    assert all(name in page for name in bad)


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
    assert "in more than one split, such as train/cat/" in found["group_in_two_splits"][1]


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
        "ignored_files": (False, "2 files are no part of the data: dog/notes.txt, stray.png"),
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


def test_modes_and_upright_sizes(tmp_path):
    root = make_folder(tmp_path / "pets")
    deep = np.random.default_rng(0).integers(0, 65536, (24, 24), np.uint16)
    write(root / "cat" / "deep.png", encoded(deep))
    write(root / "cat" / "glass.png", encoded(picture(4, channels=4)))
    write(root / "cat" / "huge.jpg", encoded(picture(5, 900, 700), ".jpg"))
    facts = check(config_of(root), tmp_path / "out").facts
    assert facts["modes"] == {"RGB": 21, "16-bit grey": 1, "RGBA": 1}
    assert facts["sizes"][1:] == [[900, 700, 1]]


def test_splits_and_statistics_are_those_of_training(tmp_path, cache_dir):
    root = make_folder(tmp_path / "pets", count=20)
    twin = encoded(picture(1))
    for i in range(6):
        write(root / "cat" / f"copy{i}.png", twin)
    config = config_of(root, cache_dir=str(cache_dir))
    dataset = build_dataset(config)
    checked = check(config, tmp_path / "out")
    assert checked.facts["splits"] == {role: len(s) for role, s in dataset.splits.items()}
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
    role_of = {names[i]: role for role, split in dataset.splits.items() for i in split.rows}
    for row in rows(tmp_path / "out" / "duplicates.csv"):
        assert row["split"] == role_of[row["image"]]
    for ours, theirs in zip(
        (checked.facts["mean"], checked.facts["std"]),
        channel_statistics(dataset.splits["train"]),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9)


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


def test_hostile_names_stay_text(tmp_path):
    names = ("<b>bold</b>", "$x^2$", "猫", "a b")
    root = make_folder(tmp_path / "pets", names)
    write(root / "猫" / "<script>alert(1)<\n>.png", b"")
    write(root / "a b" / "\udcff.png", b"")
    checked = check(config_of(root), tmp_path / "out")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in page and "<b>bold" not in page and "&lt;b&gt;bold" in page
    assert "http" not in page and not re.search(r'(src|srcset|href)="(?!data:|#)', page)
    assert r"unreadable: 猫/<script>alert(1)<\n>.png is empty" in checked.text
    assert r"unreadable: a b/\udcff.png is empty (0 bytes)" in checked.text
    checked.text.encode()
    assert rows(tmp_path / "out" / "unreadable.csv")[0]["image"] == r"a b/\udcff.png"


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


def test_random_crops_of_the_files_are_in_the_samples(tmp_path):
    root = make_folder(tmp_path / "pets", height=40, width=60)
    sheets = []
    for scale in (None, (0.1, 0.3)):
        check(config_of(root, image_size=32, crop_scale=scale, mode="stream"), tmp_path / "out")
        sheets.append((tmp_path / "out" / "samples.png").read_bytes())
    assert sheets[0] != sheets[1]


def test_mistakes_get_one_line_and_leave_nothing(tmp_path, command):
    folder, output = make_folder(tmp_path / "pets"), tmp_path / "out"
    make_folder(tmp_path / "zoo" / "train")
    make_folder(tmp_path / "zoo" / "test", ("cat", "owl"))
    for wrong, told in (
        (arguments(tmp_path / "no", output), f"config.data.dir='{tmp_path}/no': no such folder"),
        (
            arguments(tmp_path / "zoo", output),
            f"config.data.dir='{tmp_path}/zoo/test': train has no images of class 'owl', "
            "validation or test has; add some to train or remove it there",
        ),
        (
            arguments(folder, folder / "cat" / "00.png"),
            f"--output={folder}/cat/00.png: {folder}/cat/00.png is a file; give a folder",
        ),
    ):
        done = command(*wrong, module="jaxcnn.check_data", check=2)
        assert done.stderr.splitlines()[-1] == f"error: {told}"
        assert not output.exists() and done.stdout == ""


def test_results_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    folder, output = make_folder(tmp_path / "pets"), tmp_path / "out"
    check(config_of(folder), output)
    before = {path.name: path.read_bytes() for path in output.iterdir()}
    write(folder / "cat" / "zero.png", b"")

    def full(path, content):
        if path.name == "unreadable.csv":
            raise OSError(28, "No space left on device")
        path.open("wb").write(content)

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(UserError, match=r"out: cannot be written \(No space left on device\)"):
        check(config_of(folder), output)
    assert {path.name: path.read_bytes() for path in output.iterdir()} == before


def test_the_flowers_have_six_copies_four_of_them_under_two_labels(shared, tmp_path, command):
    done = command(
        *arguments(shared / "folders" / "flowers5", tmp_path), module="jaxcnn.check_data", check=2
    )
    assert (
        "6 identical copies: 6 images occur more than once, 4 under more than one label, "
        "3 in more than one split"
    ) in done.stdout
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        "error: 2 findings would harm training: 4 images are under more than one label "
        "(8 examples): "
    )
    assert len(rows(tmp_path / "duplicates.csv")) == 12


def test_help_says_what_is_harm(command):
    done = command("--help", module="jaxcnn.check_data", check=0)
    assert "Exit code 2" in done.stdout and "--output" in done.stdout
