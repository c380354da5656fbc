"""Streaming gives what memory gives: the same examples, the same pixels, whatever happens."""

import itertools
import logging
import threading
import time

import cv2
import numpy as np
import pytest

from jaxcnn.builders.data import build_dataset, build_sampling
from jaxcnn.config import default_config, resolve
from jaxcnn.data.decode import Decoding, decode
from jaxcnn.data.load import load_crop, load_example
from jaxcnn.data.pipeline import eval_batches, train_batches
from jaxcnn.data.resize import crop_box, crop_draws, fit, fit_crop
from jaxcnn.errors import UserError


@pytest.fixture
def pictures(shared, tmp_path, cache_dir):
    """A config of 60 photos of cats and dogs, linked from the real ones."""
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for file in sorted((shared / "folders/cats_dogs" / name).iterdir())[:30]:
            (tmp_path / "photos" / name / file.name).write_bytes(file.read_bytes())
    config = default_config()
    config.num_steps = 3
    config.batch_size = 12
    config.data.source = "folder"
    config.data.dir = str(tmp_path / "photos")
    config.data.image_size = 40
    config.data.cache_dir = str(cache_dir)
    return config


def batches_of(config, mode, start=0, stop=7, batch_size=12, **options):
    config.data.mode = mode
    config = resolve(config)
    split = build_dataset(config).splits["train"]
    sampling = build_sampling(config, split)
    return list(
        train_batches(split, sampling, config.seed, range(start, stop), batch_size, **options)
    )


def assert_equal(batches, others):
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for name, value in batch.items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)


@pytest.mark.parametrize("sampling", ["shuffle", "balanced"])
def test_streaming_and_memory_give_the_same_batches(pictures, sampling):
    pictures.data.sampling = sampling
    assert_equal(batches_of(pictures, "memory"), batches_of(pictures, "stream"))


def test_streaming_and_memory_evaluate_the_same_examples(pictures):
    seen = []
    for mode in ("memory", "stream"):
        pictures.data.mode = mode
        splits = build_dataset(resolve(pictures)).splits
        seen.append([batch for role in splits for batch in eval_batches(splits[role], 7)])
    assert_equal(*seen)


@pytest.mark.parametrize("crop_scale", [None, (0.1, 1.0)])
def test_a_stream_started_in_the_middle_goes_on_as_if_it_had_never_stopped(pictures, crop_scale):
    pictures.data.crop_scale = crop_scale
    assert_equal(batches_of(pictures, "stream")[4:], batches_of(pictures, "stream", start=4))


def test_each_process_loads_its_own_share_of_a_batch_and_no_more(pictures):
    whole = batches_of(pictures, "stream")
    first, second = (
        batches_of(pictures, "stream", share=share) for share in (slice(0, 6), slice(6, 12))
    )
    for batch, *halves in zip(whole, first, second, strict=True):
        for name, value in batch.items():
            together = np.concatenate([half[name] for half in halves])
            np.testing.assert_array_equal(together, value)


def test_random_crops_differ_from_epoch_to_epoch_and_evaluation_has_none(pictures):
    pictures.data.crop_scale = (0.1, 1.0)
    batches = batches_of(pictures, "stream", stop=10)
    images = {}
    for batch in batches:
        for index, image in zip(batch["index"], batch["image"], strict=True):
            images.setdefault(int(index), []).append(image)
    twice = [several for several in images.values() if len(several) > 1]
    assert len(twice) > 10
    assert all((one != other).any() for one, other, *_ in twice)
    split = build_dataset(resolve(pictures)).splits["train"]
    pictures.data.crop_scale = None
    assert_equal(
        eval_batches(split, 20), eval_batches(build_dataset(resolve(pictures)).splits["train"], 20)
    )


def test_crops_of_files_are_refused_where_files_are_not_streamed(pictures):
    pictures.data.crop_scale = (0.1, 1.0)
    pictures.data.mode = "memory"
    with pytest.raises(UserError, match=r"^config\.data\.mode=memory: with .*crop_scale"):
        build_dataset(resolve(pictures))


@pytest.mark.parametrize("size", [(375, 500), (40, 1000), (7, 5), (1, 1)])
@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.999, 1.0), (0.01, 0.02)])
def test_a_random_crop_lies_in_the_image_and_has_the_area_asked_for(size, scale):
    height, width = size
    for step in range(200):
        top, left, h, w = crop_box(size, scale, crop_draws(0, step, 3, 0))
        assert top >= 0 and h > 0 and top + h <= height
        assert left >= 0 and w > 0 and left + w <= width
        if min(size) > 100:
            assert scale[0] * 0.97 <= h * w / (height * width) <= scale[1] * 1.03
            assert 0.72 < w / h < 1.4


def test_a_crop_depends_on_seed_step_and_example_alone():
    draws = {key: tuple(crop_draws(*key).ravel()) for key in itertools.product((0, 1), repeat=4)}
    assert len(set(draws.values())) == 16
    assert all(tuple(crop_draws(*key).ravel()) == value for key, value in draws.items())
    assert all(0 <= d < 1 for value in draws.values() for d in value)


def test_an_image_that_vanishes_stops_the_run_with_its_name(pictures, tmp_path):
    pictures.data.mode = "stream"
    config = resolve(pictures)
    split = build_dataset(config).splits["train"]
    (tmp_path / "photos" / "cat").rename(tmp_path / "elsewhere")
    sampling = build_sampling(config, split)
    with pytest.raises(UserError) as error:
        list(train_batches(split, sampling, 0, range(3), 12))
    message = str(error.value)
    assert "\n" not in message
    assert "cat/cat." in message
    assert "cannot be read (No such file or directory)" in message
    assert "put them back and start the same command again" in message


def test_an_image_that_vanishes_is_masked_out_if_bad_images_are_skipped(pictures, tmp_path, caplog):
    pictures.data.mode, pictures.data.on_bad_image = "stream", "skip"
    config = resolve(pictures)
    split = build_dataset(config).splits["train"]
    sampling = build_sampling(config, split)
    before = list(train_batches(split, sampling, 0, range(8), 12))
    (tmp_path / "photos" / "cat").rename(tmp_path / "elsewhere")
    with caplog.at_level(logging.WARNING):
        after = list(train_batches(split, sampling, 0, range(8), 12))
    for batch, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(other["mask"], batch["label"] == 1)
        np.testing.assert_array_equal(other["image"][other["mask"]], batch["image"][other["mask"]])
        stand_in = other["image"][other["mask"]][0]
        assert (other["image"][~other["mask"]] == stand_in).all()  # BatchNorm sees it too
    counted = sum(int(record.args[0].split()[0]) for record in caplog.records)
    assert counted == (split.label == 0).sum()  # each once, however often it was asked for


def test_an_example_that_comes_twice_in_a_batch_is_cropped_twice(pictures):
    pictures.data.crop_scale, pictures.data.sampling = (0.1, 0.5), "balanced"
    (batch,) = batches_of(pictures, "stream", stop=1, batch_size=80)
    seen: dict[int, set[bytes]] = {}
    for index, image in zip(batch["index"].tolist(), batch["image"], strict=True):
        seen.setdefault(index, set()).add(image.tobytes())
    assert len(seen) < 80
    assert sum(map(len, seen.values())) == 80


def test_a_stream_leaves_no_threads_behind(pictures):
    before = threading.active_count()
    for _ in range(3):
        batches_of(pictures, "stream", stop=2)
    for _ in range(100):  # they end on their own
        if threading.active_count() <= before:
            return
        time.sleep(0.05)
    raise AssertionError(threading.enumerate())


def test_large_photos_are_decoded_at_a_smaller_scale_and_look_the_same(shared):
    file = sorted((shared / "folders/cats_dogs/cat").iterdir())[0]
    large = cv2.resize(cv2.imread(str(file)), (1600, 1200), interpolation=cv2.INTER_CUBIC)
    content = cv2.imencode(".jpg", large)[1].tobytes()
    how = Decoding(image_size=64)
    exact = fit(decode(content, how), how).astype(int)
    assert decode(content, how, at_least=64).shape == (150, 200, 3)
    assert np.abs(load_example(content, how) - exact).mean() < 1.5
    box = crop_box((1200, 1600), (0.3, 0.3), crop_draws(0, 0, 0, 0))
    crop = load_crop(content, how, 64, (0.3, 0.3), crop_draws(0, 0, 0, 0))
    exact = fit_crop(decode(content, how), box, (1200, 1600), 64).astype(int)
    assert np.abs(crop - exact).mean() < 8  # its edges are rounded to the larger pixels
