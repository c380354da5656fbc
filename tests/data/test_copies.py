"""Large photos are streamed from smaller copies, and whatever becomes of those, the pixels are a
function of the file and the config.
"""

import json
import logging
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from jaxcnn.builders.data import build_dataset, build_sampling
from jaxcnn.config import default_config, resolve
from jaxcnn.data import SOURCES
from jaxcnn.data.copies import with_copies
from jaxcnn.data.decode import Decoding, open_image
from jaxcnn.data.load import load_crop, load_example
from jaxcnn.data.pipeline import eval_batches, train_batches
from jaxcnn.data.resize import crop_draws
from jaxcnn.data.splits import describe
from jaxcnn.errors import UserError
from tests.images import LARGE, picture, saved

HOW = Decoding(image_size=32, channels=3, shrink=2)  # copies of 64 pixels


@pytest.fixture
def photos(tmp_path):
    """Makes a source of twelve files: nine that are large, two that are small, one that is none."""
    for k, name in enumerate(("cat", "dog")):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i, content in enumerate(list(LARGE.values())[k::2]):
            (tmp_path / "photos" / name / f"{i}.jpg").write_bytes(content)
        small = saved(picture(64, 90), "JPEG")
        (tmp_path / "photos" / name / "small.jpg").write_bytes(small)
    (tmp_path / "photos" / "cat" / "bad.jpg").write_bytes(b"no image")
    return lambda: SOURCES["folder"](dir=str(tmp_path / "photos"))["train"]


@pytest.fixture
def config(photos, tmp_path):
    (tmp_path / "photos" / "cat" / "bad.jpg").unlink()
    config = default_config()
    config.num_steps = config.batch_size = 4
    config.data.source, config.data.dir = "folder", str(tmp_path / "photos")
    config.data.image_size, config.data.channels, config.data.shrink = 32, 3, 2
    config.data.cache_dir = str(tmp_path / "cache")
    return config


def seen_in(source, how=HOW):
    """What evaluation and a training crop see of each example; the reason where it is bad."""
    contents, label = source.read(np.arange(source.size))
    images = []
    for i, content in enumerate(contents):
        try:
            crop = load_crop(content, how, 32, (0.1, 1.0), crop_draws(0, 1, i, 2))
            images.append((load_example(content, how), crop))
        except ValueError as error:
            images.append(str(error))
    return images, label


def assert_same(source, other, how=HOW):
    (images, label), (others, other_label) = seen_in(source, how), seen_in(other, how)
    np.testing.assert_array_equal(label, other_label)
    for one, two in zip(images, others, strict=True):
        np.testing.assert_array_equal(one, two)


def without_files(source, but=()):
    """The same source, from which nothing can be read but examples `but`."""

    def read(index):
        assert set(index.tolist()) <= set(but), "read again"
        return source.read(index)

    return source._replace(read=read)


def entries(root):
    return sorted(path.name for path in root.iterdir())


NO_COPY = [5, 6, 11]  # cat/bad.jpg, cat/small.jpg, dog/small.jpg


def test_copies_have_the_pixels_that_their_files_have(photos, tmp_path):
    for channels in (None, 1, 3):
        how = HOW._replace(channels=channels)
        copied = with_copies(photos(), how, str(tmp_path / "cache"))
        assert_same(photos(), copied, how)
        contents, _ = copied.read(np.arange(12))
        sizes = [min(open_image(content).size) for content in contents if content != b"no image"]
        assert sizes == [64] * 11
    assert len(entries(tmp_path / "cache")) == 2  # in their own channels for None and 3


def test_copies_are_made_once_and_the_files_are_not_read_again(photos, tmp_path):
    first = with_copies(photos(), HOW, str(tmp_path / "cache"))
    again = with_copies(without_files(photos(), NO_COPY), HOW, str(tmp_path / "cache"))
    assert_same(first, again)
    assert len(entries(tmp_path / "cache")) == 1


def test_copies_of_a_file_that_changed_are_made_again(photos, tmp_path):
    with_copies(photos(), HOW, str(tmp_path / "cache"))
    (tmp_path / "photos" / "cat" / "0.jpg").write_bytes(LARGE["webp"])
    copied = with_copies(photos(), HOW, str(tmp_path / "cache"))
    assert_same(photos(), copied)
    np.testing.assert_array_equal(seen_in(copied)[0][0][0], load_example(LARGE["webp"], HOW))


def test_a_damaged_copy_is_not_used(photos, tmp_path):
    with_copies(photos(), HOW, str(tmp_path / "cache"))
    (file,) = tmp_path.glob("cache/*/copies.bin")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert_same(photos(), with_copies(photos(), HOW, str(tmp_path / "cache")))
    with pytest.raises(AssertionError, match="read again"):
        seen_in(with_copies(without_files(photos(), NO_COPY), HOW, str(tmp_path / "cache")))


def test_copies_that_are_cut_short_are_made_again(photos, tmp_path, caplog):
    with_copies(photos(), HOW, str(tmp_path / "cache"))
    (file,) = tmp_path.glob("cache/*/copies.bin")
    os.truncate(file, 1000)
    assert_same(photos(), with_copies(photos(), HOW, str(tmp_path / "cache")))
    assert "copies.bin is cut short" in caplog.text
    with_copies(without_files(photos()), HOW, str(tmp_path / "cache"))


def test_a_full_disk_costs_a_warning_and_no_pixel(photos, tmp_path, monkeypatch, caplog):
    full = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    copied = with_copies(photos(), HOW, str(tmp_path / "cache"))
    assert "No space left on device; large photos are shrunk whenever" in caplog.text
    assert entries(tmp_path / "cache") == []
    assert_same(photos(), copied)


def test_copies_end_at_the_limit_of_the_cache_and_go_on_with_a_higher_one(
    photos, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr("jaxcnn.data.load._BLOCK", 4)
    root = tmp_path / "cache"
    with_copies(photos(), HOW, str(root))
    (whole,) = (path.stat().st_size for path in root.glob("*/copies.bin"))
    shutil.rmtree(root)
    for _ in range(2):
        copied = with_copies(photos(), HOW, str(root), limit=whole / 2)
        assert_same(photos(), copied)
    assert caplog.text.count("more would take more than data.cache_limit_gb") == 1
    (part,) = (path.stat().st_size for path in root.glob("*/copies.bin"))
    assert 0 < part <= whole / 2
    copied = with_copies(photos(), HOW, str(root), limit=1e9)
    assert [path.stat().st_size for path in root.glob("*/copies.bin")] == [whole]
    assert_same(photos(), copied)


def test_room_is_made_for_copies(photos, tmp_path):
    old = with_copies(photos(), HOW._replace(shrink=3), str(tmp_path / "cache"))
    (kept,) = (path.stat().st_size for path in tmp_path.glob("cache/*/copies.bin"))
    with_copies(photos(), HOW, str(tmp_path / "cache"), limit=kept)
    assert len(entries(tmp_path / "cache")) == 1
    assert_same(photos(), old, HOW._replace(shrink=3))  # still open, and read to the end


# Both wait in their first reading, so that both have found no copies and make them. With "killed"
# one of them ends there, as kill -9 would end it.
BOTH = """
import hashlib, os, pathlib, sys, time
import numpy as np
from jaxcnn.data import SOURCES
from jaxcnn.data.copies import with_copies
from jaxcnn.data.decode import Decoding

def read(index):
    (meeting / str(os.getpid())).touch()
    if sys.argv[4:]:
        os._exit(9)
    for _ in range(6000):
        if len(list(meeting.iterdir())) == 2:
            return source.read(index)
        time.sleep(0.01)
    sys.exit("the other process never came")

meeting = pathlib.Path(sys.argv[1])
source = SOURCES["folder"](dir=sys.argv[2])["train"]
copied = with_copies(source._replace(read=read), Decoding(32, 3, shrink=2), sys.argv[3])
contents, _ = copied.read(np.arange(source.size))
print(hashlib.sha256(b"".join(contents)).hexdigest())
"""


def test_two_processes_may_make_copies_at_once_and_a_killed_one_leaves_none(photos, tmp_path):
    meeting, root = tmp_path / "meeting", tmp_path / "cache"
    meeting.mkdir()
    command = [sys.executable, "-c", BOTH, str(meeting), str(tmp_path / "photos"), str(root)]
    assert subprocess.run([*command, "killed"], check=False).returncode == 9
    assert entries(root)[0].startswith("unfinished-")
    for file in meeting.iterdir():
        file.unlink()
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    outputs = [process.communicate(timeout=90)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert outputs[0] == outputs[1]
    (entry,) = entries(root)
    assert not entry.startswith("unfinished-")


def batches_of(config, steps, crop_scale=None):
    config.data.crop_scale = crop_scale
    dataset = build_dataset(resolve(config))
    split = dataset.splits["train"]
    sampling = build_sampling(config, split)
    batches = [*train_batches(split, sampling, 0, steps, 4), *eval_batches(split, 4)]
    return dataset, batches


@pytest.mark.parametrize("crop_scale", [None, (0.1, 1.0)])
def test_a_run_goes_on_as_before_when_the_cache_is_gone(config, tmp_path, crop_scale):
    dataset, batches = batches_of(config, range(6), crop_scale)
    assert dataset.mode == "stream"
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("")  # nothing can be written there
    _, later = batches_of(config, range(3, 6), crop_scale)
    for batch, other in zip(batches[3:], later, strict=True):
        for name, value in batch.items():
            np.testing.assert_array_equal(value, other[name])


def test_a_new_file_is_seen_as_evaluation_would_see_it(config, tmp_path):
    dataset, _ = batches_of(config, range(1))
    split = dataset.splits["train"]
    (batch,) = eval_batches(split, len(split))
    for row, image in zip(batch["index"].tolist(), batch["image"], strict=True):
        name = split.images.source.name(row)
        content = (tmp_path / "photos" / name).read_bytes()
        np.testing.assert_array_equal(load_example(content, dataset.decoding), image)
    resize = describe(dataset)["resize"]
    assert resize["shrink"] == 2 and "JPEG of quality 95" in resize["shrink_rule"]
    assert Decoding(*(resize[name] for name in Decoding._fields)) == dataset.decoding
    json.dumps(resize)


def test_tables_with_groups_are_streamed_from_copies_too(config, tmp_path):
    files = sorted((tmp_path / "photos").glob("*/*.jpg"))
    lines = [f"{file},{file.parent.name},{file.stem}" for file in files]
    (tmp_path / "table.csv").write_text("\n".join(["path,label,group", *lines]))
    config.data.source, config.data.dir = "csv", str(tmp_path / "table.csv")
    dataset, batches = batches_of(config, range(2))
    assert dataset.mode == "stream"
    for batch in batches:
        for i, image in zip(batch["index"].tolist(), batch["image"], strict=True):
            np.testing.assert_array_equal(
                image, load_example(files[i].read_bytes(), dataset.decoding)
            )
    small = [i for i, file in enumerate(files) if file.stem == "small"]
    source = without_files(SOURCES["csv"](dir=config.data.dir)["train"], small)
    seen_in(with_copies(source, dataset.decoding, config.data.cache_dir))


def test_bad_images_are_told_as_without_copies(config, tmp_path):
    (tmp_path / "photos" / "dog" / "0.jpg").write_bytes(LARGE["jpeg"][:-500])
    (tmp_path / "photos" / "cat" / "0.jpg").write_bytes(b"")
    told = []
    for config.data.shrink in (2, None):
        config.data.mode = "stream"
        with pytest.raises(UserError) as error:
            build_dataset(resolve(config))
        told.append(str(error.value))
    assert told[0] == told[1]
    assert "cat/0.jpg is empty (0 bytes), dog/0.jpg " in told[0]


def test_shrink_is_refused_where_it_does_nothing(config, tmp_path, caplog):
    def told():
        with pytest.raises(UserError) as error:
            build_dataset(resolve(config))
        return str(error.value)

    config.data.mode = "memory"
    assert told() == (
        "config.data.mode=memory: with config.data.shrink images are made smaller as they come "
        "from the disk; give mode=stream and an image_size, or leave it out"
    )
    config.data.mode, config.data.image_size = None, None
    assert told().startswith("config.data.image_size=None: with config.data.shrink images")
    config.data.image_size, config.data.shrink = 32, 0
    assert told() == "config.data.shrink=0: expected a number above 0"
    config.data.source, config.data.shrink = "synthetic", 2
    del config.data["dir"]
    assert told().startswith("config.data.shrink=2: the images of 'synthetic' are pixels already")


def test_where_no_image_is_large_a_line_says_that_shrink_changes_nothing(photos, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        with_copies(photos(), HOW._replace(shrink=20), str(tmp_path / "cache"))
    assert "data.shrink changes nothing: none of 12 images is larger" in caplog.text
