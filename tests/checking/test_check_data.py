"""What check_data says of clean and of dirty data, and how it ends."""

import json
import re

import numpy as np
import pytest

from jaxcnn.builders.data import build_dataset
from jaxcnn.checking.check import check
from jaxcnn.data.splits import channel_statistics
from jaxcnn.errors import UserError
from tests.checks import arguments, config_of, rows
from tests.dirt import encoded, make_folder, picture, write

FILES = {"check.json", "duplicates.csv", "report.html", "samples.png", "unreadable.csv"}


def test_clean_data_exit_0_and_leave_five_files(tmp_path, command):
    folder, output = make_folder(tmp_path / "pets"), tmp_path / "out"
    done = command(*arguments(folder, output), module="jaxcnn.check_data", fresh=True, check=0)
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
            b"P6 2 2 255\n" + b"\r\n" * 9,
            "has 18 bytes of pixels where its header promises 12 (changed by a line-ending "
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
