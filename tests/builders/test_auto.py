"""A folder and nothing else: the rest is chosen, said, and kept."""

import json

import cv2
import jax
import numpy as np
import pytest

from jaxcnn.builders.auto import Looks, choose, look_at, prepare
from jaxcnn.builders.data import build_dataset
from jaxcnn.config.keys import default_config, flatten, resolve, unflatten
from jaxcnn.errors import UserError


@pytest.fixture
def folder(tmp_path, cache_dir):
    """40 photos in two classes; a function that makes the config of experiments/folder.py."""

    def make(size=(60, 80), grey=False, count=20, **values):
        random = np.random.default_rng(0)
        for name in ("a", "b"):
            (tmp_path / "photos" / name).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                image = random.integers(0, 256, (*size, 1 if grey else 3)).astype(np.uint8)
                cv2.imwrite(str(tmp_path / "photos" / name / f"{i}.png"), image)
        config = default_config()
        config.auto = True
        config.data.source = "folder"
        config.data.dir = str(tmp_path / "photos")
        config.data.cache_dir = str(cache_dir)
        config.update_from_flattened_dict(values)
        return config

    return make


def test_size_channels_model_and_length_are_chosen_by_the_data(folder):
    config = prepare(folder())
    assert (config.data.image_size, config.data.channels) == (60, 3)
    assert config.model.name == "cnn"
    assert config.num_epochs > 10
    assert not config.auto


def test_grey_images_stay_grey_and_are_not_mirrored(folder):
    config = prepare(folder(size=(28, 28), grey=True))
    assert (config.data.image_size, config.data.channels) == (28, 1)
    assert config.augment == (("crop", 3),)


def test_what_the_file_or_the_command_line_says_stays(folder):
    config = folder(**{"data.image_size": 24, "optimizer.name": "adam", "num_steps": 7})
    config.batch_size = 128  # the default, but said on the command line
    config = prepare(config, overrides=("batch_size",))
    assert (config.data.image_size, config.batch_size) == (24, 128)
    assert (config.num_steps, config.num_epochs) == (7, None)
    assert (config.optimizer.name, config.optimizer.weight_decay) == ("adam", 0.0)
    assert config.model.name == "cnn" and config.model.strides == 2


def test_a_run_that_has_begun_goes_on_with_what_was_chosen_then(folder, tmp_path):
    config = prepare(folder(count=20))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(
        json.dumps(config.to_dict() | {"num_epochs": 3.0})
    )
    again = prepare(folder(count=30), workdir=tmp_path / "run")
    assert again.num_epochs == 3.0
    assert again.to_dict() == config.to_dict() | {"num_epochs": 3.0}


@pytest.mark.parametrize("platform", ["cpu", "gpu", "tpu"])
@pytest.mark.parametrize("shape", [(8, 8), (28, 28), (32, 32), (100, 60), (500, 375), (20, 4000)])
@pytest.mark.parametrize("num_train", [20, 3_000, 1_300_000])
def test_every_choice_is_a_config_without_mistakes(platform, shape, num_train):
    looks = Looks(num_train, 10, shape, one_size=True, grey=num_train == 20)
    config = resolve(unflatten(flatten(default_config()) | choose(looks, platform)))
    assert 8 <= config.data.image_size <= max(min(shape), 8)
    assert config.batch_size <= max(num_train * 0.7, 8)


def test_a_folder_of_damaged_images_is_left_to_loading_to_tell(folder, tmp_path):
    config = folder(count=2)
    for file in (tmp_path / "photos").glob("*/*.png"):
        file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(UserError, match=r"^4 of 4 images cannot be used: a/0\.png is cut short"):
        build_dataset(prepare(config))


def test_grey_pixels_in_colour_files_are_grey(folder, tmp_path):
    config = folder(size=(28, 28), grey=True)
    for file in (tmp_path / "photos").glob("*/*.png"):
        cv2.imwrite(str(file), cv2.cvtColor(cv2.imread(str(file), 0), cv2.COLOR_GRAY2BGR))
    config = prepare(config)
    assert (config.data.channels, config.augment) == (1, (("crop", 3),))


def test_the_choice_follows_the_size_that_is_given(folder):
    small = prepare(folder(**{"data.image_size": 8}))
    large = prepare(folder(**{"data.image_size": 224}), overrides=("data.image_size",))
    assert small.augment == (("crop", 1),) and len(small.model.filters) == 1
    assert large.data.image_size == 224 and large.num_epochs <= small.num_epochs


def test_a_run_that_began_on_another_device_keeps_its_model(folder, tmp_path, monkeypatch):
    begun = prepare(folder())
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps(begun.to_dict()))
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert prepare(folder(), workdir=tmp_path / "run").to_dict() == begun.to_dict()
    assert prepare(folder(), workdir=tmp_path / "new").model.name == "resnet18"


def test_only_what_was_chosen_is_taken_from_a_run_that_has_begun(folder, tmp_path):
    """A seed of the command line that is left out the next time is another config."""
    begun = prepare(folder(seed=3))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps(begun.to_dict()))
    assert prepare(folder(), workdir=tmp_path / "run").seed == 0


def test_a_folder_is_trained_with_nothing_but_its_name(folder, tmp_path, command):
    config = folder()
    done = command(
        "--config", "experiments/folder.py", f"--config.data.dir={config.data.dir}",
        "--workdir", tmp_path / "run", "--config.num_steps=3", fresh=True, check=0,
    )  # fmt: skip
    assert "chosen for 40 colour images of 60x80 pixels in 2 classes" in done.stderr
    assert "--config.data.image_size=60" in done.stderr
    assert json.loads((tmp_path / "run" / "eval.json").read_text())["num_examples"] == 8
    saved = json.loads((tmp_path / "run" / "config.json").read_text())
    assert saved["auto"] is False and saved["num_steps"] == 3
    again = command(
        "--config", "experiments/folder.py", f"--config.data.dir={config.data.dir}",
        "--workdir", tmp_path / "run", "--config.num_steps=3", check=0,
    )  # fmt: skip
    assert "is finished" in again.stderr


def test_a_finished_run_does_not_answer_for_another_folder(folder, tmp_path, command):
    config = folder(count=10)
    flags = (
        "--config", "experiments/folder.py", "--workdir", tmp_path / "run", "--config.num_steps=2"
    )  # fmt: skip
    command(*flags, f"--config.data.dir={config.data.dir}", check=0)
    (tmp_path / "photos").rename(tmp_path / "moved")
    moved = command(*flags, f"--config.data.dir={tmp_path / 'moved'}", check=0)
    assert "is finished" in moved.stderr
    (tmp_path / "moved" / "a" / "0.png").unlink()
    other = command(*flags, f"--config.data.dir={tmp_path / 'moved'}", check=2)
    assert "error: --workdir=" in other.stderr and "the data have changed" in other.stderr


def test_faint_colours_of_twelve_bits_are_colours(tmp_path):
    for k in range(20):
        path = tmp_path / "d" / "ab"[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        image = np.full((16, 16, 3), (1000, 1000, 2000), np.uint16)
        image[k % 16] = 4000
        cv2.imwrite(str(path), image)
    config = default_config()
    config.data.source, config.data.dir, config.num_epochs = "folder", str(tmp_path / "d"), 1
    config.data.cache_dir = str(tmp_path / "cache")
    assert not look_at(resolve(config)).grey
