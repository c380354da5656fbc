"""Images are decoded once, by whoever comes first, and a cache is complete or absent."""

import logging
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxcnn.data import SOURCES
from jaxcnn.data.cache import decode_images, load_images, survey
from jaxcnn.data.decode import Decoding
from jaxcnn.data.source import Source
from jaxcnn.errors import UserError


def source_of(images, identity="noise"):
    def read(index):
        return [images[i] for i in index], (index % 3).astype(np.int32)

    return Source(len(images), ("a", "b", "c"), read, identity)


def noise(*sizes, channels=3, seed=0):
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, (h, w, channels)).astype(np.uint8) for h, w in sizes]


def unreadable(source):
    """The same source, whose images can come from nowhere but the cache."""

    def read(index):
        raise AssertionError("decoded again")

    return source._replace(read=read)


def entries(root):
    return sorted(path.name for path in root.iterdir())


def test_the_second_load_is_a_memory_map_of_the_same_content(tmp_path):
    source = SOURCES["digits"]()["train"]
    first = load_images(source, Decoding(), str(tmp_path))
    second = load_images(unreadable(source), Decoding(), str(tmp_path))
    decoded = decode_images(source, Decoding())
    for images in (first, second):
        assert isinstance(images.image, np.memmap)
        assert not images.image.flags.writeable
        np.testing.assert_array_equal(images.image, decoded.image)
        np.testing.assert_array_equal(images.label, decoded.label)
    assert len(entries(tmp_path)) == 1


def test_what_is_made_as_fast_as_it_is_read_is_not_cached(tmp_path):
    source = SOURCES["synthetic"](num_examples=8)["train"]
    images = load_images(source, Decoding(16, 1), str(tmp_path))
    np.testing.assert_array_equal(images.image, decode_images(source, Decoding(16, 1)).image)
    assert entries(tmp_path) == []


def test_another_source_size_or_number_of_channels_is_another_entry(tmp_path):
    images = noise(*[(8, 8)] * 5)
    asked = [
        (source_of(images), None, None),
        (source_of(noise(*[(8, 8)] * 5, seed=1), "other noise"), None, None),
        (source_of(images), 4, None),
        (source_of(images), None, 1),
        (source_of(images), 4, 1),
    ]
    for source, size, channels in asked:
        load_images(source, Decoding(size, channels), str(tmp_path))
    assert len(entries(tmp_path)) == len(asked)
    for source, size, channels in asked:
        cached = load_images(unreadable(source), Decoding(size, channels), str(tmp_path))
        expected = decode_images(source, Decoding(size, channels))
        np.testing.assert_array_equal(cached.image, expected.image)


@pytest.mark.parametrize("count", [1, 1023, 1024, 1025, 3000])
def test_every_image_is_decoded_whatever_their_number(count):
    """1024 images are decoded at a time."""
    images = [np.full((1, 1, 1), i % 251, np.uint8) for i in range(count)]
    decoded = decode_images(source_of(images), Decoding())
    np.testing.assert_array_equal(decoded.image, np.stack(images))
    np.testing.assert_array_equal(decoded.label, np.arange(count) % 3)


def test_images_of_many_sizes_and_channels_become_one_array():
    images = noise((8, 12), (30, 9)) + noise((7, 7), channels=1)
    decoded = decode_images(source_of(images), Decoding(6, 3))
    assert decoded.image.shape == (3, 6, 6, 3)
    assert decoded.image.dtype == np.uint8
    assert decoded.label.tolist() == [0, 1, 2]


def test_images_of_differing_sizes_need_an_image_size(tmp_path):
    source = source_of(noise((8, 8), (8, 9)))
    with pytest.raises(UserError) as error:
        load_images(source, Decoding(), str(tmp_path))
    assert str(error.value) == (
        "images differ (8x8x3 and 8x9x3 pixels): give --config.data.image_size=N"
    )
    assert entries(tmp_path) == []


def test_a_source_without_images_is_named():
    with pytest.raises(UserError, match="no images in an empty folder"):
        decode_images(source_of([], "an empty folder"), Decoding())


def test_what_memory_cannot_hold_is_refused_before_it_is_decoded():
    def read(index):
        return noise((256, 256)) * len(index), np.zeros(len(index), np.int32)

    source = Source(10**8, ("a",), read, "the world")  # 18 TiB
    with pytest.raises(UserError, match=r"the world: 100,000,000 images .*data\.mode=stream"):
        decode_images(source, Decoding())


@pytest.mark.parametrize("below", ["", "/deeper"])
def test_where_no_cache_can_be_written_the_images_come_with_a_warning(tmp_path, caplog, below):
    (tmp_path / "a-file").write_text("")  # permissions would not stop root
    source = source_of(noise((8, 8), (8, 8)))
    with caplog.at_level(logging.WARNING):
        images = load_images(source, Decoding(), f"{tmp_path}/a-file{below}")
    np.testing.assert_array_equal(images.image, decode_images(source, Decoding()).image)
    assert f"not cached in {tmp_path}/a-file" in caplog.text
    assert entries(tmp_path) == ["a-file"]


def test_a_failed_decoding_leaves_nothing_behind(tmp_path):
    source = source_of(noise((8, 8)))
    with pytest.raises(AssertionError):
        load_images(unreadable(source), Decoding(), str(tmp_path))
    assert entries(tmp_path) == []
    assert load_images(source, Decoding(), str(tmp_path)).image.shape == (1, 8, 8, 3)


# Reads only once both processes do: then both have found the cache empty, and both write it.
BOTH = """
import hashlib, os, pathlib, sys, time
from jaxcnn.data import SOURCES
from jaxcnn.data.cache import load_images
from jaxcnn.data.decode import Decoding

def read(index):
    (meeting / str(os.getpid())).touch()
    for _ in range(6000):
        if len(list(meeting.iterdir())) == 2:
            return source.read(index)
        time.sleep(0.01)
    sys.exit("the other process never came")

meeting, root = pathlib.Path(sys.argv[1]), sys.argv[2]
source = SOURCES["synthetic"](image_size=16, num_examples=500)["train"]
images = load_images(source._replace(read=read, cached=True), Decoding(), root)
print(type(images.image).__name__, hashlib.sha256(images.image.tobytes()).hexdigest())
"""


def test_two_processes_may_build_a_cache_at_once(tmp_path):
    meeting, root = tmp_path / "meeting", tmp_path / "cache"
    meeting.mkdir()
    command = [sys.executable, "-c", BOTH, str(meeting), str(root)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=90) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    (first, _), (second, _) = outputs
    assert first == second
    assert first.startswith("memmap ")
    assert len(entries(root)) == 1


def folder_of(tmp_path, count=6, size=10):
    """A folder of PNGs in two classes."""
    import cv2

    for k, name in enumerate(("a", "b")):
        (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
        for i, image in enumerate(noise(*[(size, size)] * count, seed=k)):
            cv2.imwrite(str(tmp_path / "photos" / name / f"{i}.png"), image)
    return lambda: SOURCES["folder"](dir=str(tmp_path / "photos"))["train"]


def test_a_changed_added_or_removed_file_is_decoded_again(tmp_path):
    source = folder_of(tmp_path)
    root = str(tmp_path / "cache")
    before = load_images(source(), Decoding(), root).image.copy()
    file = tmp_path / "photos" / "a" / "0.png"
    file.write_bytes((tmp_path / "photos" / "b" / "0.png").read_bytes())
    after = load_images(source(), Decoding(), root).image
    np.testing.assert_array_equal(after[0], before[6])
    np.testing.assert_array_equal(after[1:], before[1:])
    file.unlink()
    assert len(load_images(source(), Decoding(), root).image) == 11


def test_another_rule_of_decoding_is_another_entry(tmp_path):
    source = folder_of(tmp_path)()
    for how in (Decoding(8), Decoding(8, crop_fraction=0.5), Decoding(8, background=(0, 0, 0))):
        load_images(source, how, str(tmp_path / "cache"))
    assert len(entries(tmp_path / "cache")) == 3


def test_the_cache_is_bounded_and_what_was_used_longest_ago_goes_first(tmp_path):
    source, root = folder_of(tmp_path)(), tmp_path / "cache"
    sizes = (16, 17, 18)
    for age, size in zip((300, 100, 200), sizes, strict=True):
        load_images(source, Decoding(size), str(root))
        newest = max(root.iterdir(), key=lambda path: path.stat().st_ctime_ns)
        os.utime(newest, (time.time() - age,) * 2)
    load_images(unreadable(source), Decoding(16), str(root))  # used, and the youngest now
    kept = sum(file.stat().st_size for file in root.glob("*/*")) + 12 * 19 * 19 * 3
    load_images(source, Decoding(19), str(root), limit=kept - 100)
    assert len(entries(root)) == 3
    for size in (16, 17, 19):
        load_images(unreadable(source), Decoding(size), str(root))
    with pytest.raises(AssertionError, match="decoded again"):
        load_images(unreadable(source), Decoding(18), str(root))


def test_an_entry_larger_than_the_bound_is_used_all_the_same(tmp_path):
    source = folder_of(tmp_path)()
    assert len(load_images(source, Decoding(), str(tmp_path / "cache"), limit=1).image) == 12
    assert len(entries(tmp_path / "cache")) == 1


def test_what_a_killed_process_left_is_removed_a_day_later(tmp_path):
    root = tmp_path / "cache"
    for name in ("unfinished-old", "unfinished-now"):
        (root / name).mkdir(parents=True)
        (root / name / "image.npy").write_bytes(b"...")
    os.utime(root / "unfinished-old", (time.time() - 100_000,) * 2)
    load_images(folder_of(tmp_path)(), Decoding(), str(root))
    assert "unfinished-old" not in entries(root)
    assert "unfinished-now" in entries(root)  # another process may be writing it


def test_a_full_disk_costs_a_warning_and_nothing_else(tmp_path, monkeypatch, caplog):
    source, root = folder_of(tmp_path)(), tmp_path / "cache"
    full = shutil.disk_usage(tmp_path)._replace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with caplog.at_level(logging.WARNING):
        images = load_images(source, Decoding(), str(root))
    assert not isinstance(images.image, np.memmap)
    assert "No space left on device" in caplog.text
    assert entries(root) == []


def test_bad_images_are_remembered_with_their_reasons(tmp_path):
    source = folder_of(tmp_path)
    (tmp_path / "photos" / "a" / "3.png").write_bytes(b"")
    for _ in range(2):  # decoded, then from the cache
        images = load_images(source(), Decoding(), str(tmp_path / "cache"))
        assert [str(bad) for bad in images.bad] == ["a/3.png is empty (0 bytes)"]
        assert images.bad[0].row == 3
        assert not images.image[3].any()


def test_grey_and_colour_together_become_colour_whichever_comes_first(tmp_path):
    for order in ((1, 3), (3, 1)):
        images = [noise((8, 8), channels=c)[0] for c in order]
        decoded = decode_images(source_of(images), Decoding())
        assert decoded.image.shape == (2, 8, 8, 3)
        for image, stored in zip(images, decoded.image, strict=True):
            np.testing.assert_array_equal(stored, np.broadcast_to(image, (8, 8, 3)))


def test_a_survey_is_made_once_and_finds_what_loading_finds(tmp_path):
    source = folder_of(tmp_path)
    (tmp_path / "photos" / "b" / "5.png").write_bytes(b"no image")
    how, root = Decoding(image_size=6), str(tmp_path / "cache")
    for _ in range(2):
        decided, shape, label, bad = survey(source(), how, root)
        loaded = load_images(source(), how, root)
        assert decided == how._replace(channels=3) and shape == loaded.shape == (6, 6, 3)
        np.testing.assert_array_equal(label, loaded.label)
        assert bad == loaded.bad
    survey(unreadable(source()), how, root)
