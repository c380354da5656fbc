"""Splits are stratified, disjoint, complete, and depend on labels, share and split_seed alone."""

import itertools

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxcnn.data.decode import Decoding
from jaxcnn.data.source import Images, Source, Split
from jaxcnn.data.splits import (
    channel_statistics,
    check_trainable,
    hold_out,
    keep_one,
    make_dataset,
)
from jaxcnn.errors import UserError

LABEL = load_digits().target.astype(np.int32)
NAMES = tuple("0123456789")


def images_of(size, value=0):
    return Images(np.full((size, 2, 2, 1), value, np.uint8), LABEL[:size])


def labelled(*label):
    return Images(np.zeros((len(label), 2, 2, 1), np.uint8), np.array(label, np.int32))


def split_up(images=None, *, holdout=0.1, test_holdout=0.2, split_seed=0, identity="digits"):
    images = {"train": images_of(1797)} if images is None else images

    def never_read(index):
        raise AssertionError("splitting needs labels only")

    sources = {
        role: Source(len(part.label), NAMES, never_read, identity) for role, part in images.items()
    }
    return make_dataset(
        images,
        sources,
        Decoding(),
        holdout=holdout,
        test_holdout=test_holdout,
        split_seed=split_seed,
    )


@pytest.mark.parametrize("share", [0.01, 0.1, 0.25, 0.5, 0.9])
def test_each_class_gives_its_share_and_so_does_the_whole(share):
    held = hold_out(LABEL, share, 0)
    assert held.sum() == round(share * len(LABEL))
    for k in range(10):
        members = np.equal(LABEL, k)
        assert abs(held[members].sum() - share * members.sum()) < 1


def test_a_share_that_holds_out_nothing_is_refused_and_many_small_classes_still_share():
    few = labelled(0, 1, 2, 3)
    with pytest.raises(UserError, match="of 4 images that is none for validation"):
        split_up({"train": few}, test_holdout=0)
    splits = split_up({"train": labelled(*np.repeat(np.arange(10), 4))}, test_holdout=0.1).splits
    assert [len(splits[role]) for role in ("train", "validation", "test")] == [32, 4, 4]


def test_a_class_too_small_to_share_stays_in_train():
    held = hold_out(np.array([0] * 100 + [1] * 2), 0.1, 0)
    assert held.sum() == 10
    assert not held[100:].any()


@pytest.mark.parametrize("split_seed", range(20))
@pytest.mark.parametrize("share", [0.1, 0.2, 0.5, 0.9])
def test_every_class_keeps_an_image_to_train_on(share, split_seed):
    label = [0] * 20 + [1] * 20 + [2, 3, 4, 4, 5, 6, 7, 8, 9]
    splits = split_up({"train": labelled(*label)}, test_holdout=share, split_seed=split_seed).splits
    assert set(splits["train"].label) == set(range(10))
    assert np.sort(np.concatenate([s.rows for s in splits.values()])).tolist() == list(range(49))


def test_where_every_class_has_enough_nothing_is_kept_back():
    for share, seed in itertools.product((0.05, 0.2, 0.5, 0.9), range(5)):
        held = hold_out(LABEL, share, seed)
        np.testing.assert_array_equal(keep_one(LABEL, held), held)


def test_a_class_that_is_all_in_held_out_groups_keeps_the_smallest():
    label = np.array([0, 0, 0, 1, 1, 1, 0])
    unit = np.array([1, 1, 2, 3, 3, 4, 4], np.uint64)
    held = keep_one(label, np.array([0, 0, 0, 1, 1, 1, 1], bool), unit)
    assert held.tolist() == [False, False, False, False, False, True, True]
    held = keep_one(np.array([0, 0, 1]), np.array([False, True, True]), np.array([1, 2, 2]))
    assert not held.any()  # what belongs together stays together


def test_images_that_are_all_alone_in_their_class_cannot_be_held_out():
    with pytest.raises(UserError, match=r"test_holdout=0.2: the classes it falls on have no other"):
        split_up({"train": labelled(*range(10))})


def test_a_class_that_test_has_and_train_lacks_cannot_be_trained(caplog):
    dataset = split_up({"train": labelled(0, 1, 1, 4), "test": labelled(0, 2, 3)}, holdout=0)
    with pytest.raises(UserError) as caught:
        check_trainable(dataset)
    assert str(caught.value) == (
        "config.data: train has no images of 2 of the classes that test has: '2', '3'; add some, "
        "or choose other splits"
    )
    with caplog.at_level("INFO"):
        check_trainable(
            split_up({"train": labelled(0, 1, 1, 4), "test": labelled(0, 0)}, holdout=0)
        )
    assert (
        "test has no images of 2 of 3 classes, and says nothing about them: '1', '4'" in caplog.text
    )


def test_who_is_held_out_depends_on_the_split_seed():
    first, again, other = (hold_out(LABEL, 0.2, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert 0.1 < other[first].mean() < 0.3  # as many of them as chance would have


def test_a_class_keeps_its_examples_when_the_names_of_classes_change():
    np.testing.assert_array_equal(hold_out(LABEL, 0.2, 3), hold_out(9 - LABEL, 0.2, 3))


def test_the_roles_are_disjoint_and_complete():
    splits = split_up().splits
    assert list(splits) == ["train", "validation", "test"]
    for one, other in itertools.combinations(splits.values(), 2):
        assert not set(one.rows) & set(other.rows)
    rows = np.concatenate([split.rows for split in splits.values()])
    np.testing.assert_array_equal(np.sort(rows), np.arange(1797))


def test_the_shares_are_of_train_and_of_what_is_left_of_it():
    sizes = {role: len(split) for role, split in split_up().splits.items()}
    assert sizes["test"] == pytest.approx(0.2 * 1797, abs=5)
    assert sizes["validation"] == pytest.approx(0.1 * (1797 - sizes["test"]), abs=5)


@pytest.mark.parametrize("role", ["train", "validation", "test"])
def test_every_role_has_every_class_in_proportion(role):
    counts = np.bincount(split_up().splits[role].label, minlength=10)
    expected = np.bincount(LABEL) * len(split_up().splits[role]) / 1797
    assert (np.abs(counts - expected) <= 1.5).all()


def test_a_split_does_not_depend_on_pixels_or_names():
    dark, bright = split_up(), split_up({"train": images_of(1797, 255)}, identity="others")
    for role in dark.splits:
        np.testing.assert_array_equal(dark.splits[role].rows, bright.splits[role].rows)


def test_test_and_validation_are_not_drawn_alike():
    test = split_up(holdout=0, test_holdout=0.2).splits["test"].rows
    validation = split_up(holdout=0.2, test_holdout=0).splits["validation"].rows
    assert len(set(test) & set(validation)) < 0.4 * len(test)


def test_roles_the_data_bring_along_stay_as_they_are():
    given = {"train": images_of(1000), "test": images_of(500, 7), "validation": images_of(300, 9)}
    splits = split_up(given).splits
    assert {role: len(split) for role, split in splits.items()} == {
        "train": 1000,
        "validation": 300,
        "test": 500,
    }
    assert splits["test"].images is given["test"]


def test_only_missing_roles_are_held_out_of_train():
    splits = split_up({"train": images_of(1000), "test": images_of(500, 7)}).splits
    assert len(splits["test"]) == 500
    assert len(splits["train"]) + len(splits["validation"]) == 1000


def test_a_share_of_0_makes_no_role():
    assert list(split_up(holdout=0, test_holdout=0).splits) == ["train"]
    assert list(split_up(holdout=0, test_holdout=0.2).splits) == ["train", "test"]


def test_the_identity_tells_data_and_splits_apart():
    variants = [
        split_up(),
        split_up(identity="other digits"),
        split_up(holdout=0.2),
        split_up(test_holdout=0.1),
        split_up(split_seed=1),
    ]
    assert len({dataset.identity for dataset in variants}) == len(variants)
    assert split_up().identity == variants[0].identity


def test_a_data_set_knows_its_shape_and_classes():
    dataset = split_up({"train": Images(np.zeros((20, 5, 6, 3), np.uint8), LABEL[:20])})
    assert dataset.image_shape == (5, 6, 3)
    assert dataset.class_names == NAMES


def test_channel_statistics_are_those_of_the_pixels():
    image = np.random.default_rng(0).integers(0, 200, (30, 4, 5, 3)).astype(np.uint8)
    image[..., 1] //= 2
    split = Split(Images(image, LABEL[:30]), np.arange(10, 30))
    mean, std = channel_statistics(split)
    np.testing.assert_allclose(mean, (image[10:] / 255).mean((0, 1, 2)))
    np.testing.assert_allclose(std, (image[10:] / 255).std((0, 1, 2)))


def test_channel_statistics_do_not_depend_on_the_order_of_examples():
    image = np.random.default_rng(0).integers(0, 256, (30, 4, 5, 3)).astype(np.uint8)
    images = Images(image, LABEL[:30])
    shuffled = Split(images, np.random.default_rng(1).permutation(30))
    assert channel_statistics(shuffled) == channel_statistics(Split(images, np.arange(30)))


def test_channel_statistics_of_many_images_come_from_a_part_of_them():
    image = np.arange(200, dtype=np.uint8)[:, None, None, None]
    split = Split(Images(image, LABEL[:200]), np.arange(200))
    mean, _ = channel_statistics(split, at_most=3)  # images 0, 67 and 134
    assert mean == [pytest.approx((0 + 67 + 134) / 3 / 255)]


def test_a_constant_channel_has_deviation_1():
    mean, std = channel_statistics(Split(images_of(20, 51), np.arange(20)))
    assert (mean, std) == ([pytest.approx(0.2)], [1.0])
