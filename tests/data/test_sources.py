"""What each source promises: sizes, labels, random access, and one line for a mistake."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits as sklearn_digits

import jaxcnn.data.tfds
from jaxcnn.data import SOURCES
from jaxcnn.data.decode import Decoding, decode
from jaxcnn.errors import UserError
from tests.conftest import SHARED
from tests.processes import ROOT

PREPARED = SHARED / "tfds"


def test_digits_are_scikit_learns():
    sources = SOURCES["digits"]()
    assert list(sources) == ["train"]
    source = sources["train"]
    assert source.size == 1797
    assert source.class_names == tuple("0123456789")
    images, label = source.read(np.arange(1797))
    assert {(image.shape, str(image.dtype)) for image in images} == {((8, 8, 1), "uint8")}
    digits = sklearn_digits()
    np.testing.assert_array_equal(label, digits.target)
    np.testing.assert_allclose(np.stack(images)[..., 0] / 255, digits.images / 16, atol=0.002)


def synthetic(**keywords):
    return SOURCES["synthetic"](**keywords)


SOURCES_WITHOUT_FILES = [
    SOURCES["digits"]()["train"],
    synthetic(num_examples=40)["train"],
    synthetic(image_size=5, channels=1, num_classes=3, num_examples=40)["test"],
]


@pytest.mark.parametrize("source", SOURCES_WITHOUT_FILES, ids=lambda source: source.identity)
def test_any_example_can_be_read_alone_and_in_any_order(source):
    everything, labels = source.read(np.arange(source.size))
    index = np.random.default_rng(0).integers(0, source.size, 25)
    some, some_labels = source.read(index)
    np.testing.assert_array_equal(some, np.stack(everything)[index])
    np.testing.assert_array_equal(some_labels, labels[index])
    assert some_labels.dtype == np.int32
    alone, _ = source.read(index[:1])
    np.testing.assert_array_equal(alone[0], everything[index[0]])


def test_synthetic_images_are_as_asked_for():
    sources = synthetic(image_size=5, channels=1, num_classes=3, num_examples=40)
    assert {role: source.size for role, source in sources.items()} == {"train": 40, "test": 10}
    images, label = sources["train"].read(np.arange(40))
    assert {(image.shape, str(image.dtype)) for image in images} == {((5, 5, 1), "uint8")}
    np.testing.assert_array_equal(label, np.arange(40) % 3)
    assert len(sources["train"].class_names) == 3


def test_synthetic_images_are_32_pixels_of_colour_in_ten_classes_unless_told_otherwise():
    source = synthetic()["train"]
    assert source.size == 1024
    assert len(source.class_names) == 10
    assert source.read(np.array([3]))[0][0].shape == (32, 32, 3)


def test_synthetic_images_all_differ_and_tell_their_class():
    sources = synthetic(num_examples=100)
    images = [sources[role].read(np.arange(25))[0] for role in ("train", "test")]
    assert len({image.tobytes() for part in images for image in part}) == 50
    level = np.mean(images, axis=(2, 3, 4))
    rank = level.argsort().argsort() // 2.5  # darker classes come first
    assert np.corrcoef(rank.ravel(), np.tile(np.arange(25) % 10, 2))[0, 1] > 0.95


def test_an_example_of_a_large_synthetic_set_is_that_of_a_small_one():
    large, small = (synthetic(num_examples=n)["train"] for n in (10**9, 10))
    np.testing.assert_array_equal(large.read(np.array([7]))[0], small.read(np.array([7]))[0])
    assert large.read(np.array([10**9 - 1]))[1].tolist() == [9]


def test_sources_that_differ_have_other_identities():
    identities = [
        source.identity
        for keywords in ({}, {"image_size": 8}, {"channels": 1}, {"num_classes": 2})
        for source in synthetic(**keywords).values()
    ]
    assert len(set(identities)) == len(identities) == 8


@pytest.fixture
def prepared(monkeypatch):
    """The folder of data sets prepared for TFDS, on a machine without network."""
    pytest.importorskip("tensorflow_datasets")
    if not PREPARED.is_dir():
        pytest.skip("no ../shared/data/tfds here")
    monkeypatch.setattr(jaxcnn.data.tfds, "_offline", lambda: True)
    return str(PREPARED)


def tfds(**keywords):
    return SOURCES["tfds"](**keywords)


def test_a_data_set_of_tfds_is_read_by_name(prepared):
    sources = tfds(name="cifar10", dir=prepared)
    assert {role: source.size for role, source in sources.items()} == {
        "train": 50_000,
        "test": 10_000,
    }
    assert sources["train"].class_names[:3] == ("airplane", "automobile", "bird")
    contents, label = sources["test"].read(np.array([9_999, 0, 5]))
    images = [decode(content, Decoding()) for content in contents]
    assert {(image.shape, str(image.dtype)) for image in images} == {((32, 32, 3), "uint8")}
    assert label.dtype == np.int32
    alone, its_label = sources["test"].read(np.array([5]))
    np.testing.assert_array_equal(decode(alone[0], Decoding()), images[2])
    assert its_label[0] == label[2]


@pytest.mark.parametrize("name", ["cifar [v1]", "[!a]/b", "a\\b", "what?", "star*"])
def test_prepared_data_are_found_in_a_folder_of_any_name(name, prepared, tmp_path, monkeypatch):
    folder = tmp_path / name
    folder.mkdir(parents=True)
    (folder / "cifar10").symlink_to(Path(prepared, "cifar10"))
    same = tfds(name="cifar10", dir=prepared)["test"]
    found = tfds(name="cifar10", dir=str(folder))["test"]
    assert found.identity == same.identity
    assert found.read(np.array([7]))[0] == same.read(np.array([7]))[0]
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    assert tfds(name="cifar10")["test"].identity == same.identity
    assert f"mnist is not prepared in {folder}/mnist/" in message_of(name="mnist", dir=str(folder))


def test_a_part_of_a_split_holds_its_examples(prepared):
    whole = tfds(name="cifar10:3.0.2", dir=prepared)["train"]
    sources = tfds(
        name="cifar10", dir=prepared, train_split="train[:100]", validation_split="train[90%:]"
    )
    assert {role: source.size for role, source in sources.items()} == {
        "train": 100,
        "validation": 5_000,
        "test": 10_000,
    }
    for role, start in (("train", 0), ("validation", 45_000)):
        part, label = sources[role].read(np.array([3, 99]))
        expected, expected_label = whole.read(np.array([3, 99]) + start)
        assert part == expected
        np.testing.assert_array_equal(label, expected_label)
        assert sources[role].identity != whole.identity


class Builder:
    """One of TFDS, that prepares for a while; what is prepared is a file."""

    running = 0

    def __init__(self, folder):
        self.data_dir, self.file = folder / "mine/1.0.0", folder / "prepared"
        self.found = self.file.exists()  # as TFDS: it looks when it is made

    def is_prepared(self):
        return self.found

    def download_and_prepare(self, download_config):
        assert not Builder.running and not self.file.exists(), "two at once, or twice"
        Builder.running += 1
        time.sleep(0.2)
        self.file.touch()
        Builder.running -= 1
        self.found = True


def test_of_several_that_want_a_data_set_one_prepares_it(prepared, monkeypatch, tmp_path):
    import tensorflow_datasets

    monkeypatch.setattr(tensorflow_datasets, "builder", lambda *_, **__: Builder(tmp_path))
    with ThreadPoolExecutor() as pool:
        jobs = [
            pool.submit(jaxcnn.data.tfds._prepared_builder, "mine", str(tmp_path), str(tmp_path))
            for _ in range(3)
        ]
        assert all(job.result().is_prepared() for job in jobs)


def message_of(**keywords):
    with pytest.raises(UserError) as error:
        tfds(**keywords)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_a_misspelt_data_set_is_told_its_nearest_name(prepared):
    message = message_of(name="cifar1O", dir=prepared)
    assert message.startswith("config.data.name='cifar1O': ")
    assert "did you mean cifar10" in message


@pytest.mark.parametrize("role", ["train", "validation"])
@pytest.mark.parametrize("split", ["trian", "train[:100", "train[:1000000]"])
def test_a_wrong_split_is_told_which_there_are(prepared, role, split):
    message = message_of(name="cifar10", dir=prepared, **{f"{role}_split": split})
    assert message.startswith(f"config.data.{role}_split={split!r}: ")
    assert message.endswith("it has train, test")


def test_a_misspelt_test_split_is_not_left_out_in_silence(prepared):
    message = message_of(name="cifar10", dir=prepared, test_split="tset")
    assert message.startswith("config.data.test_split='tset': cifar10 has no such split")


@pytest.mark.parametrize("role", ["validation", "test"])
def test_no_split_serves_two_roles(prepared, role):
    message = message_of(name="cifar10", dir=prepared, **{f"{role}_split": "train"})
    assert message == f"config.data.{role}_split='train': serves as another role already"


def test_a_version_that_does_not_exist_is_one_line(prepared):
    message = message_of(name="cifar10:1.2.3", dir=prepared)
    assert message.startswith("config.data.name='cifar10:1.2.3': ") and "\n" not in message


IN_ANOTHER_FORMAT = """
import os
import sys
import numpy as np
import tensorflow_datasets
from jaxcnn.data import SOURCES
from jaxcnn.data.decode import Decoding, decode

folder = sys.argv[1]
plain = folder.replace("[1]", "")  # or TFDS itself would not find what it has prepared
builder = tensorflow_datasets.testing.DummyMnist(data_dir=plain, file_format="tfrecord")
builder.download_and_prepare()
os.rename(plain, folder)
sources = SOURCES["tfds"](name="dummy_mnist", dir=folder)
assert (sources["train"].size, sources["test"].size) == (20, 20)
contents, labels = sources["train"].read(np.array([3, 0]))
assert [decode(content, Decoding()).shape for content in contents] == [(28, 28, 1)] * 2
everything, _ = sources["train"].read(np.arange(20))
assert contents[1] == everything[0]
assert labels.dtype == np.int32
"""


@pytest.mark.parametrize("name", ["plain", "v[1]"])
def test_data_prepared_in_another_format_are_read_too(name, tmp_path, tensorflow):
    """TFRecord has no random access; TensorFlow reads it whole. In a process of its own: it would
    fill the memory of this one to the end.
    """
    done = subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_FORMAT, str(tmp_path / name)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_missing_data_without_network_say_where_they_were_looked_for(prepared, tmp_path):
    message = message_of(name="mnist", dir=str(tmp_path))
    assert str(tmp_path / "mnist") in message
    assert "no network" in message
    assert "--config.data.dir=" in message
    assert "--config.data.manual_dir=" in message


@pytest.mark.parametrize("keyword", ["dir", "manual_dir"])
def test_a_folder_that_is_not_there_is_named(prepared, tmp_path, keyword):
    folders = {"dir": str(tmp_path), keyword: str(tmp_path / "nowhere")}
    message = message_of(name="mnist", **folders)
    assert message.startswith(
        f"config.data.{keyword}={str(tmp_path / 'nowhere')!r}: no such folder"
    )
