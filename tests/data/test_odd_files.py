"""Broken images stop a run before it trains, with one line; or they are left out and counted."""

import logging
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from jaxcnn.builders.data import build_dataset
from jaxcnn.config import default_config, resolve
from jaxcnn.errors import UserError
from tests.images import noise, png, saved
from tests.processes import ROOT, command_line, environment, finish, start

# What each broken file is called in messages.
BROKEN = {
    "a/zero.png": (b"", "is empty (0 bytes)"),
    "a/page.jpg": (b"<!DOCTYPE html>", "is a web page, which is not read"),
    "a/cut.png": (saved(noise(8, 8, 3), "PNG")[:-20], "is cut short"),
    "b/cut.jpg": (saved(noise(64, 64, 3), "JPEG")[:-900], "is cut short"),
    "b/bomb.png": (
        png((1, 1), 8, 0, b"\0").replace(b"\0\0\0\x01\0\0\0\x01", b"\0\0\xff\xff\0\0\xff\xff"),
        "is damaged (checksum of its IHDR chunk)",
    ),
    "b/bomb.ppm": (
        b"P6 65535 65535 255\n",
        "promises 65535x65535 pixels; more than 179 million are refused, as they may be a "
        "decompression bomb",
    ),
    "b/crlf.ppm": (
        b"P6\r\n8 8\r\n255\r\n" + bytes(192),
        "has 193 bytes of pixels where its header promises 192 (changed by a line-ending "
        "conversion?)",
    ),
    "b/film.dcm": (b"\0" * 128 + b"DICM", "is a DICOM file without pixels"),
}
LIST_THEM = "all are listed by: jaxcnn check_data"


def images(root, count=20):
    """A folder of two classes, of `count` images each."""
    for k, name in enumerate(("a", "b")):
        (root / name).mkdir(parents=True)
        for i in range(count):
            (root / name / f"{i:02}.png").write_bytes(
                saved(noise(8, 8, 3, seed=i) // 4 + 150 * k, "PNG")
            )
    return root


@pytest.fixture
def folder(tmp_path):
    return images(tmp_path / "folder")


def config_of(folder, **data):
    config = default_config()
    config.data.source, config.data.dir = "folder", str(folder)
    config.data.cache_dir = str(folder.parent / "cache")
    config.num_epochs = 1.0
    for name, value in data.items():
        config.data[name] = value
    return resolve(config)


def break_some(folder, names=BROKEN):
    for name in names:
        (folder / name).write_bytes(BROKEN[name][0])
    return sorted(names)


def flags(folder, tmp_path):
    return ("--config", "experiments/digits.py", "--config.data.source=folder",
            f"--config.data.dir={folder}", "--config.num_epochs=1", "--config.batch_size=8",
            "--config.model.filters=(4,)", "--workdir", tmp_path / "run")  # fmt: skip


@pytest.mark.parametrize("mode", ["memory", "stream"])
def test_broken_images_are_counted_and_named_in_one_line(folder, mode):
    names = break_some(folder)
    with pytest.raises(UserError) as caught:
        build_dataset(config_of(folder, mode=mode))
    told = ", ".join(f"{name} {BROKEN[name][1]}" for name in names)
    assert str(caught.value).startswith(
        f"8 of 48 images cannot be used: {told}; mend or remove them, or leave them out with "
        f"--config.data.on_bad_image=skip; {LIST_THEM}"
    )


def test_of_many_broken_images_ten_are_named(folder):
    for i in range(14):
        (folder / "a" / f"{i:02}.png").write_bytes(b"")
    with pytest.raises(UserError) as caught:
        build_dataset(config_of(folder))
    told = ", ".join(f"a/{i:02}.png is empty (0 bytes)" for i in range(10))
    assert str(caught.value).startswith(
        f"14 of 40 images cannot be used: {told} and 4 more; mend or remove them"
    )


@pytest.mark.parametrize("mode", ["memory", "stream"])
def test_skip_counts_them_and_trains_on_the_others(folder, caplog, mode):
    names = break_some(folder)
    with caplog.at_level(logging.WARNING):
        dataset = build_dataset(config_of(folder, on_bad_image="skip", mode=mode))
    assert "left out: 8 of 48 images cannot be used: a/cut.png is cut short, a/" in caplog.text
    assert [bad.name for bad in dataset.bad] == names
    rows = sorted(row for split in dataset.splits.values() for row in split.rows.tolist())
    assert len(rows) == 40
    assert not {bad.row for bad in dataset.bad} & set(rows)


def test_a_mended_image_is_seen_and_not_the_cache(folder):
    break_some(folder, ["a/zero.png"])
    with pytest.raises(UserError, match="1 of 41 images"):
        build_dataset(config_of(folder))
    (folder / "a/zero.png").write_bytes(saved(noise(8, 8, 3), "PNG"))
    assert not build_dataset(config_of(folder)).bad


def test_without_a_test_split_train_and_validation_stay_as_they_are(tmp_path):
    for name in ("train", "val"):
        images(tmp_path / "set" / name, 10)
    splits = build_dataset(config_of(tmp_path / "set")).splits
    assert {role: len(split) for role, split in splits.items()} == {"train": 20, "validation": 20}


@pytest.mark.parametrize("mode", ["memory", "stream"])
def test_splits_of_other_shapes_are_made_equal_or_told(tmp_path, mode):
    grey, large = tmp_path / "grey", tmp_path / "large"
    for folder in (grey, large):
        images(folder / "train", 10)
        images(folder / "test", 10)
    for path in (grey / "train").rglob("*.png"):
        path.write_bytes(saved(noise(8, 8), "PNG"))
    for path in (large / "test").rglob("*.png"):
        path.write_bytes(saved(noise(10, 10, 3), "PNG"))
    splits = build_dataset(config_of(grey, mode=mode)).splits
    assert {split.images.shape for split in splits.values()} == {(8, 8, 3)}
    with pytest.raises(UserError, match=r"give --config\.data\.image_size=N"):
        build_dataset(config_of(large, mode=mode))


def test_skip_trains_also_where_the_first_hundred_are_broken(tmp_path):
    folder = images(tmp_path / "many", 20)
    for i in range(120):
        (folder / "a" / f"!{i}.png").write_bytes(b"")
    assert len(build_dataset(config_of(folder, on_bad_image="skip")).bad) == 120


def test_a_class_of_broken_images_only_is_an_error_also_with_skip(folder):
    for path in (folder / "a").iterdir():
        path.write_bytes(b"")
    with pytest.raises(UserError, match="'a'"):
        build_dataset(config_of(folder, on_bad_image="skip"))


# Through the command


def test_the_command_stops_with_exit_code_2_and_one_line(folder, command, tmp_path):
    break_some(folder, ["a/zero.png", "b/crlf.ppm"])
    (folder / "b/new\nline.png").write_bytes(b"")
    done = command(*flags(folder, tmp_path), check=2)
    assert done.stderr.splitlines()[-1].startswith(
        "error: 3 of 43 images cannot be used: a/zero.png is empty (0 bytes), b/crlf.ppm "
        f"{BROKEN['b/crlf.ppm'][1]}, b/new\\nline.png is empty (0 bytes); mend or remove them, "
        f"or leave them out with --config.data.on_bad_image=skip; {LIST_THEM} --config "
        f"experiments/digits.py --config.data.source=folder --config.data.dir={folder} "
    )
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "run" / "checkpoints").exists()


# What this needs is imported before it becomes another user, who may not read Python's files.
AS_NOBODY = """
import os, sys
from pathlib import Path
from jaxcnn.data.decode import Decoding
from jaxcnn.data.folder import load_folder
from jaxcnn.data.load import for_all, load_example
from jaxcnn.errors import UserError

load_example(Path(sys.argv[1], "a/01.png").read_bytes(), Decoding())
os.setgid(65534)
os.setuid(65534)
try:
    source = load_folder(dir=sys.argv[1])["train"]
    work = lambda content: load_example(content, Decoding())
    print(next(for_all(source, work, 1, "decoded"))[1][0])
except UserError as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="takes root")
def test_what_may_not_be_read_is_told_with_the_reason():
    def told(folder):
        arguments = [sys.executable, "-c", AS_NOBODY, folder]
        return subprocess.run(
            arguments, stdout=subprocess.PIPE, text=True, env=environment(1), cwd=ROOT, timeout=100
        ).stdout.strip()

    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o755)
        folder = images(Path(place) / "folder")
        (folder / "a/00.png").chmod(0)
        assert told(folder) == "a/00.png cannot be read (Permission denied)"
        (folder / "b/deep").mkdir(mode=0)
        assert told(folder) == f"{folder}/b/deep: cannot be listed (Permission denied)"
        (folder / "b").chmod(0)
        assert told(folder) == f"{folder}/b: cannot be listed (Permission denied)"


@pytest.mark.parametrize("on_bad_image", ["error", "skip"])
def test_an_image_that_vanishes_during_the_run(tmp_path, cache_dir, on_bad_image):
    """With `skip` the run goes on; else it ends with one line. (The folder's name is odd, too.)"""
    folder = images(tmp_path / "my pictures; ünï")
    arguments = (*flags(folder, tmp_path), "--config.data.mode=stream", "--config.num_epochs=60",
                 "--config.checkpoint_every_epochs=1", "--config.log_every_steps=1",
                 f"--config.data.on_bad_image={on_bad_image}")  # fmt: skip
    process = start(command_line(*arguments, cache_dir=cache_dir))
    metrics = tmp_path / "run/metrics.jsonl"
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        if metrics.is_file() and metrics.read_text().count("\n") > 2:
            break
        time.sleep(0.05)
    for path in (folder / "a").iterdir():
        path.unlink()
    code, _, told = finish(process)
    assert "Traceback" not in told
    assert "a/" in told
    assert "cannot be read (No such file or directory)" in told
    if on_bad_image == "skip":
        assert code == 0, told
    else:
        assert code == 2, told
        assert told.splitlines()[-1].startswith("error: "), told
        assert "any more; put them back and start the same command again" in told
