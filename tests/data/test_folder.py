"""Folders of images: which files, which classes, which splits; and one line for a mistake."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.data.folder import load_folder, match_groups
from jaxcnn.data.listing import notes
from jaxcnn.data.splits import hold_out
from jaxcnn.errors import UserError
from tests.images import photo, saved

PNG = saved(photo(8, 8), "PNG")


def fill(root, *paths, content=PNG):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def classes(root, *names, count=2):
    return fill(root, *(f"{name}/{i}.png" for name in names for i in range(count)))


def names_of(source):
    return [source.name(i) for i in range(source.size)]


def mistake(root, **keywords):
    with pytest.raises(UserError) as caught:
        load_folder(dir=str(root), **keywords)
    message = str(caught.value)
    assert "\n" not in message
    return message.replace(str(root), "ROOT")


def test_class_folders_become_classes_and_their_files_examples(tmp_path):
    source = load_folder(dir=str(classes(tmp_path, "dog", "cat")))["train"]
    assert source.class_names == ("cat", "dog")
    assert names_of(source) == ["cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png"]
    contents, label = source.read(np.array([3, 0]))
    assert contents == [PNG, PNG]
    assert label.tolist() == [1, 0]


def test_classes_that_are_numbers_are_in_the_order_of_numbers(tmp_path):
    source = load_folder(dir=str(classes(tmp_path, "10", "9", "x", "007")))["train"]
    assert source.class_names == ("007", "9", "10", "x")


@pytest.mark.parametrize(
    ("folders", "roles"),
    [
        (("train", "val", "test"), ["train", "validation", "test"]),
        (("Train", "VAL", "Testing"), ["train", "validation", "test"]),
        (("training", "validation"), ["train", "validation"]),
        (("TRAINING", "test"), ["train", "test"]),
        (("train", "valid"), ["train", "validation"]),
    ],
)
def test_splits_are_found_in_any_case_and_by_their_usual_names(tmp_path, folders, roles):
    for folder in folders:
        classes(tmp_path / folder, "a", "b")
    sources = load_folder(dir=str(tmp_path))
    assert list(sources) == roles
    assert names_of(sources["train"])[0] == f"{folders[0]}/a/0.png"  # not the one in test


@pytest.mark.parametrize("name", ["train", "test", "val"])
def test_a_class_may_be_called_like_a_split(tmp_path, name):
    source = load_folder(dir=str(classes(tmp_path, "car", name)))["train"]
    assert source.class_names == tuple(sorted(("car", name)))


def test_odd_files_are_passed_over_and_odd_names_are_not(tmp_path):
    classes(tmp_path, "a", "b")
    odd = ["a/with space.PNG", "a/ünï–コ.JPG", "b/deep/deeper/x.Jpeg", "b/new\nline.png"]
    fill(tmp_path, *odd)
    fill(tmp_path, "a/Thumbs.db", "a/.hidden.png", "a/.git/x.png", "b/notes.txt", "b/.DS_Store",
         "__MACOSX/a/0.png", ".cache/x.png", "top.png", "a/__MACOSX/0.png")  # fmt: skip
    (tmp_path / "b/folder.jpg").mkdir()
    sources = load_folder(dir=str(tmp_path))
    assert sources["train"].class_names == ("a", "b")
    names = names_of(sources["train"])
    assert "b/deep/deeper/x.Jpeg" in names
    assert r"b/new\nline.png" in names  # one line in messages
    assert len(names) == 4 + len(odd)


def test_a_file_name_that_is_no_utf8_is_read_and_named(tmp_path):
    classes(tmp_path, "a", "b")
    try:
        with open(os.fsencode(tmp_path) + b"/a/\xff.png", "wb") as file:  # noqa: PTH123
            file.write(PNG)
    except OSError:
        pytest.skip("this file system takes UTF-8 only")
    source = load_folder(dir=str(tmp_path))["train"]
    assert r"a/\udcff.png" in names_of(source)
    assert all(content == PNG for content in source.read(np.arange(source.size))[0])


def test_links_are_followed_but_not_in_circles(tmp_path):
    classes(tmp_path / "elsewhere", "cats")
    root = classes(tmp_path / "root", "dog")
    (root / "cat").symlink_to(tmp_path / "elsewhere/cats")
    (root / "dog/again").symlink_to(root / "dog")
    (root / "dog/up").symlink_to(root)
    names = names_of(load_folder(dir=str(root))["train"])
    assert [name for name in names if "again" not in name and "up" not in name] == [
        "cat/0.png", "cat/1.png", "dog/0.png", "dog/1.png",
    ]  # fmt: skip
    assert len(names) < 20


def test_what_cannot_be_read_is_an_error_of_its_example_and_hangs_nothing(tmp_path):
    classes(tmp_path, "a", "b")
    (tmp_path / "a/dangling.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "a/pipe.png")
    (tmp_path / "a/endless.png").symlink_to("/dev/zero")
    with (tmp_path / "b/huge.png").open("wb") as file:
        file.truncate(3 * 2**30)  # sparse
    source = load_folder(dir=str(tmp_path))["train"]
    (tmp_path / "b/0.png").unlink()
    (tmp_path / "b/1.png").unlink()
    (tmp_path / "b/1.png").mkdir()
    contents, _ = source.read(np.arange(source.size))
    reasons = {n: c.strerror for n, c in zip(names_of(source), contents, strict=True) if c != PNG}
    assert reasons == {
        "a/dangling.png": "No such file or directory",
        "a/pipe.png": "no regular file",
        "a/endless.png": "no regular file",
        "b/huge.png": "3.2 GB, more than an image takes",
        "b/0.png": "No such file or directory",
        "b/1.png": "Is a directory",
    }


def test_the_identity_follows_names_sizes_and_labels_the_stamp_also_times(tmp_path):
    def load(folder):
        source = load_folder(dir=str(folder))["train"]
        return source.identity, source.stamp

    first, moved = classes(tmp_path / "x", "a", "b"), classes(tmp_path / "y", "a", "b")
    identity, stamp = load(first)
    assert load(first) == (identity, stamp)
    assert load(moved)[0] == identity
    assert load(moved)[1] != stamp
    os.utime(first / "a/0.png", (1, 1))
    assert (load(first)[0] == identity, load(first)[1] == stamp) == (True, False)
    (first / "a/0.png").write_bytes(PNG + b"x")
    assert load(first)[0] != identity
    (moved / "a/0.png").rename(moved / "b/2.png")
    assert load(moved)[0] != identity


def test_a_folder_that_is_laid_out_otherwise_gets_one_line(tmp_path):
    def made(name, *paths, content=PNG):
        return fill(tmp_path / name, *paths, content=content)

    where = "config.data.dir='ROOT'"
    assert mistake(tmp_path / "no") == f"{where}: no such folder"
    assert mistake(made("f", "x.png") / "x.png") == f"{where}: is a file"
    assert mistake(made("flat", "0.png", "1.png")) == (
        f"{where}: expected a folder for each class, <class>/*.jpg; it has none, and 2 images "
        "directly in it"
    )
    assert mistake(made("zip", "flowers/a/0.png", "flowers/b/0.png")) == (
        f"{where}: only one class ('flowers'), and a classifier needs two; did you mean "
        "ROOT/flowers?"
    )
    assert mistake(made("twice", "train/a/0.png", "val/a/0.png", "Validation/a/0.png")) in (
        f"{where}: Validation/ and val/ are both validation",
        f"{where}: val/ and Validation/ are both validation",
    )
    assert mistake(made("no-train", "test/a/0.png", "test/b/0.png")) == (
        f"{where}: has test but no train/ (a folder for each class inside)"
    )
    (made("empty", "a/0.png", "b/0.png") / "c").mkdir()
    assert mistake(tmp_path / "empty") == (
        "config.data.dir: class folder 'ROOT/c' has no images; remove it or fill it"
    )
    made("jxl", "b/0.jxl", "b/1.jxl", content=b"\xff\x0a" + bytes(90))
    assert mistake(made("jxl", "a/0.png")) == (
        "config.data.dir: class folder 'ROOT/b' has no images of a kind jaxcnn reads (but "
        "0.jxl, a JPEG XL image, ...); remove it or fill it"
    )
    assert mistake(made("more", "train/a/0.png", "train/b/0.png", "test/c/0.png")) == (
        "config.data.dir='ROOT/test': train has no images of class 'c', validation or test has; "
        "add some to train or remove it there"
    )
    assert mistake(made("kaggle", "train/a/0.png", "train/b/0.png", "test/0.png")) == (
        "config.data.dir: 'ROOT/test' has no images in class folders, <class>/*.jpg; sort them, "
        "or move it away"
    )
    assert mistake(made("line", "a\nb/0.png", "c/0.png")) == (
        f"{where}: rename the class folder 'a\\nb'; it is no text of one line"
    )


def test_folders_beside_the_splits_are_told_to_be_unused(tmp_path):
    for folder in ("train", "test", "unlabelled"):
        classes(tmp_path / folder, "a", "b")
    sources = load_folder(dir=str(tmp_path))
    assert list(sources) == ["train", "test"]
    (note,) = notes(sources["train"].left_out)
    assert (note.what, note.harmless) == ("not used: unlabelled/", False)


# Groups and held-out splits


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("(", "config.data.group_pattern='(': not a regular expression (missing ), unterminated "),
        (r"\d+", "config.data.group_pattern='\\\\d+': has no (capture group) to tell the groups"),
        (r"p(\d+)", "config.data.group_pattern='p(\\\\d+)': does not match 'a/0.png'"),
    ],
)
def test_a_group_pattern_that_cannot_work_gets_one_line(tmp_path, pattern, message):
    assert mistake(classes(tmp_path, "a", "b"), group_pattern=pattern).startswith(message)


def test_groups_are_what_all_capture_groups_match():
    paths = ["7/00012_00029.ppm", "7/00012_00030.ppm", "8/00012_00029.ppm"]
    first, second, third = match_groups(paths, r"(\d+)/(\d+)_")
    assert first == second != third
    first, second, third = match_groups(paths, r"/(\d+)_")
    assert first == second == third
    assert len(set(match_groups(["a1b", "a1", "1b"], r"(a)?1(b)?"))) == 3


some_groups = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 25)), min_size=20, max_size=120)
shares = st.sampled_from((0.05, 0.1, 0.2, 0.5))
seeds = st.integers(0, 50)
steady = settings(derandomize=True, database=None, max_examples=60, deadline=None)


def units(names):
    return np.random.default_rng(7).integers(0, 2**63, 500).astype(np.uint64)[names]


@steady
@given(some_groups, shares, seeds)
def test_a_group_is_never_split_whatever_its_classes(examples, share, seed):
    label, group = np.array(examples).T
    held = hold_out(label, share, seed, units(group))
    for one in np.unique(group):
        assert len(set(held[group == one])) == 1
    assert held.sum() <= share * len(label) + np.bincount(group).max()


@steady
@given(st.lists(st.integers(0, 5), min_size=5, max_size=300), shares, seeds)
def test_without_groups_every_class_gives_its_share_within_one(label, share, seed):
    label = np.array(label)
    held = hold_out(label, share, seed, units(np.arange(len(label))))
    assert held.sum() == round(share * len(label))
    for k in np.unique(label):
        assert abs(held[label == k].sum() - share * (label == k).sum()) < 1


@steady
@given(st.lists(st.integers(0, 3), min_size=10, max_size=300), st.data(), shares, seeds)
def test_a_file_more_or_less_moves_two_others_at_most(label, data, share, seed):
    label = np.array(label)
    unit = units(np.arange(len(label)))
    away = data.draw(st.integers(0, len(label) - 1))
    rest = np.arange(len(label)) != away
    before = hold_out(label[rest], share, seed, unit[rest])
    after = hold_out(label, share, seed, unit)[rest]
    assert (before != after).sum() <= 2
