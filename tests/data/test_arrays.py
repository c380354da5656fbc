"""Images that are arrays: .npz and .npy, all they may hold; and one line for what they may not."""

import pickle

import numpy as np
import pytest

from jaxcnn.data.arrays import load_arrays
from jaxcnn.data.decode import Decoding
from jaxcnn.data.load import load_example
from jaxcnn.errors import UserError
from tests.images import noise

IMAGE, LABEL = noise(6, 4, 5, 3), np.array([0, 1, 2, 0, 1, 2])
CLASSES = np.array(["ant", "bee", "cat"])


def npz(folder, **arrays):
    file = folder / "data.npz"
    np.savez(file, **arrays)
    return file


def mistake(file):
    with pytest.raises(UserError) as caught:
        load_arrays(dir=str(file))
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"config.data.dir={str(file)!r}: ")
    return message.removeprefix(f"config.data.dir={str(file)!r}: ")


@pytest.mark.parametrize("compressed", [False, True])
def test_an_npz_file_holds_the_splits_it_names(tmp_path, compressed):
    file = tmp_path / "data.npz"
    test = {"image_test": IMAGE[:4], "label_test": LABEL[:4]}
    validation = {"image_val": IMAGE[:3], "label_val": LABEL[:3]}
    save = np.savez_compressed if compressed else np.savez
    save(file, image=IMAGE, label=LABEL, **test, **validation)
    sources = load_arrays(dir=str(file))
    assert {role: source.size for role, source in sources.items()} == {
        "train": 6,
        "validation": 3,
        "test": 4,
    }
    images, label = sources["train"].read(np.array([5, 1]))
    np.testing.assert_array_equal(images, IMAGE[[5, 1]])
    assert label.tolist() == [2, 1]
    assert label.dtype == np.int32
    assert sources["train"].class_names == ("0", "1", "2")


def test_a_folder_of_npy_files_is_mapped_and_not_read(tmp_path):
    np.save(tmp_path / "image.npy", IMAGE)
    np.save(tmp_path / "label.npy", LABEL.astype(np.uint8))
    np.save(tmp_path / "class_names.npy", CLASSES)
    source = load_arrays(dir=str(tmp_path))["train"]
    assert source.class_names == ("ant", "bee", "cat")
    np.testing.assert_array_equal(np.stack(source.read(np.arange(6))[0]), IMAGE)


def test_labels_may_be_names(tmp_path):
    names = CLASSES[LABEL]
    sources = load_arrays(
        dir=str(
            npz(tmp_path, image=IMAGE, label=names, image_test=IMAGE[:2], label_test=names[1:3])
        )
    )
    assert sources["test"].class_names == ("ant", "bee", "cat")
    assert sources["test"].labels().tolist() == [1, 2]
    assert sources["train"].labels().tolist() == LABEL.tolist()


@pytest.mark.parametrize("channels", [None, 1, 2, 3, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_grey_colour_alpha_and_16_bits_become_uint8(tmp_path, channels, dtype):
    shape = (6, 4, 5) if channels is None else (6, 4, 5, channels)
    image = noise(*shape, dtype=dtype)
    source = load_arrays(dir=str(npz(tmp_path, image=image, label=LABEL)))["train"]
    content = source.read(np.array([3]))[0][0]
    example = load_example(content, Decoding())
    assert example.shape == (4, 5, 3 if channels in (3, 4) else 1)
    assert example.dtype == np.uint8
    if channels in (None, 1, 3):
        expected = np.rint(image[3] / (257 if dtype == np.uint16 else 1))
        np.testing.assert_array_equal(example, expected.reshape(example.shape))


def test_the_identity_follows_the_content(tmp_path):
    def identity(image, label):
        return load_arrays(dir=str(npz(tmp_path, image=image, label=label)))["train"].identity

    first = identity(IMAGE, LABEL)
    assert identity(IMAGE, LABEL) == first
    assert identity(255 - IMAGE, LABEL) != first
    assert identity(IMAGE, LABEL[::-1]) != first


WRONG = {
    "floats": (
        {"image": IMAGE / 255, "label": LABEL},
        "image is float64[6, 4, 5, 3]; expected uint8 or uint16 of shape [N, H, W] or [N, H, W, C]",
    ),
    "channels first": (
        {"image": IMAGE.transpose(0, 3, 1, 2), "label": LABEL},
        "image has 5 channels (shape [6, 3, 4, 5]); expected 1 or 3 (2 or 4 with alpha), last",
    ),
    "other lengths": (
        {"image": IMAGE, "label": LABEL[:5]},
        "label is int64[5]; expected 6 whole numbers or names",
    ),
    "one-hot labels": (
        {"image": IMAGE, "label": np.eye(3)[LABEL]},
        "label is float64[6, 3]; expected 6 whole numbers or names",
    ),
    "no labels": ({"image": IMAGE}, "has no array 'label'; it has image"),
    "other names": (
        {"images": IMAGE, "labels": LABEL},
        "has no arrays 'image' and 'label'; it has images, labels",
    ),
    "a name that is nearly right": (
        {"image": IMAGE, "labels": LABEL},
        "has no array 'label' (did you mean labels?); it has image, labels",
    ),
    "train twice": (
        {"image": IMAGE, "label": LABEL, "image_train": IMAGE, "label_train": LABEL},
        "has both image and image_train; both are train",
    ),
    "validation twice": (
        {f"{name}{suffix}": value for suffix in ("", "_val", "_validation")
         for name, value in (("image", IMAGE), ("label", LABEL))},
        "has both image_val and image_validation; both are validation",
    ),
    "no images": (
        {"image": IMAGE[:0], "label": LABEL[:0]},
        "image is empty: uint8[0, 4, 5, 3]",
    ),
    "no pixels": (
        {"image": IMAGE[:, :0], "label": LABEL},
        "image is empty: uint8[6, 0, 5, 3]",
    ),
    "labels from 1": (
        {"image": IMAGE, "label": LABEL + 1},
        "train has no images of label 0, and labels go up to 3; number the classes from 0 without "
        "gaps, or name them all in an array class_names",
    ),
    "labels below 0": (
        {"image": IMAGE, "label": LABEL - 1},
        "labels are -1 to 1; expected 0 to K - 1 of K classes",
    ),
    "labels without names": (
        {"image": IMAGE, "label": LABEL, "class_names": CLASSES[:2]},
        "labels are 0 to 2; expected 0 to K - 1 of K classes (2 are named)",
    ),
    "a class in test that train lacks": (
        {"image": IMAGE[:2], "label": LABEL[:2], "image_test": IMAGE, "label_test": LABEL},
        "train has no images of label 2, and labels go up to 2; number the classes from 0 without "
        "gaps, or name them all in an array class_names",
    ),
    "a name in test that train lacks": (
        {"image": IMAGE[:2], "label": CLASSES[:2],
         "image_test": IMAGE, "label_test": CLASSES[LABEL]},
        "train has no images of class 'cat', validation or test has; add some to train or remove "
        "it there",
    ),
    "numbers and names": (
        {"image": IMAGE, "label": LABEL, "image_test": IMAGE, "label_test": CLASSES[LABEL]},
        "labels are numbers in one split and names in another",
    ),
    "objects": (
        {"image": IMAGE, "label": LABEL.astype(object)},
        "not readable as NumPy arrays (it holds Python objects)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_arrays_that_cannot_be_used_get_one_line(tmp_path, name):
    arrays, message = WRONG[name]
    assert mistake(npz(tmp_path, **arrays)) == message


def test_what_holds_no_arrays_gets_one_line(tmp_path):
    assert mistake(tmp_path / "no.npz") == "no such file"
    assert mistake(tmp_path) == "has no arrays 'image' and 'label'; it has none"
    file = tmp_path / "data.npz"
    for content in (b"", b"text", pickle.dumps(IMAGE)):
        file.write_bytes(content)
        assert mistake(file) == "is no .npz file"
    np.save(tmp_path / "one.npy", IMAGE)
    message = "is one array; give an .npz file, or a folder of .npy files"
    assert mistake(tmp_path / "one.npy") == message


def test_a_pickle_is_never_opened(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path / "evil").touch, ()

    np.save(tmp_path / "image.npy", np.array([Evil()], object), allow_pickle=True)
    np.save(tmp_path / "label.npy", LABEL)
    assert mistake(tmp_path) == "not readable as NumPy arrays (it holds Python objects)"
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("compressed", [False, True])
def test_a_damaged_file_is_an_error_and_never_other_pixels(tmp_path, compressed):
    file = tmp_path / "data.npz"
    (np.savez_compressed if compressed else np.savez)(file, image=IMAGE, label=LABEL)
    content = file.read_bytes()
    for place in range(0, len(content), 7):
        for damaged in (
            content[:place],
            content[:place] + bytes([content[place] ^ 0x24]) + content[place + 1 :],
        ):
            file.write_bytes(damaged)
            try:
                source = load_arrays(dir=str(file))["train"]
            except UserError as error:
                assert "\n" not in str(error)
            else:
                np.testing.assert_array_equal(np.stack(source.read(np.arange(6))[0]), IMAGE)
