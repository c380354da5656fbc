"""The data order: every example once an epoch, full batches, a pure function of (seed, step)."""

import subprocess
import sys

import numpy as np
import pytest

from jaxcnn.data.pipeline import (
    balanced,
    epoch_order,
    eval_batches,
    shuffled,
    train_batches,
)
from jaxcnn.data.source import Images, Split


def make_split(num_images=50, rows=None):
    """Images that show their own number, of which a split takes the given rows."""
    number = np.arange(num_images)
    image = np.broadcast_to(number[:, None, None, None], (num_images, 2, 3, 1)).astype(np.uint8)
    images = Images(image, (number % 7).astype(np.int32))
    return Split(images, number if rows is None else np.asarray(rows))


def positions_of(seed, step, batch_size, num_examples):
    seen = np.arange(step * batch_size, (step + 1) * batch_size)
    return shuffled(seed, np.zeros(num_examples))(seen).position


def train_batch(split, seed, step, batch_size):
    sampling = shuffled(seed, split.label)
    return next(train_batches(split, sampling, seed, range(step, step + 1), batch_size))


@pytest.mark.parametrize("num_examples", [1, 10, 64, 1797])
@pytest.mark.parametrize("batch_size", [1, 7, 64, 100])
def test_every_example_comes_once_an_epoch(num_examples, batch_size):
    epochs = 3
    steps = -(-epochs * num_examples // batch_size)
    positions = [positions_of(0, step, batch_size, num_examples) for step in range(steps)]
    assert all(len(batch) == batch_size for batch in positions)
    seen = np.concatenate(positions)[: epochs * num_examples].reshape(epochs, num_examples)
    np.testing.assert_array_equal(np.sort(seen), [np.arange(num_examples)] * epochs)


def test_a_batch_may_end_one_epoch_and_begin_the_next():
    batch = positions_of(3, 2, 4, 10)  # examples 8 to 11 of epochs of 10
    expected = [*epoch_order(3, 0, 10)[8:], *epoch_order(3, 1, 10)[:2]]
    np.testing.assert_array_equal(batch, expected)


def test_a_batch_may_be_larger_than_the_data_set():
    batch = positions_of(0, 1, 25, 10)  # examples 25 to 49: half an epoch and two whole ones
    np.testing.assert_array_equal(batch[:5], epoch_order(0, 2, 10)[5:])
    np.testing.assert_array_equal(np.bincount(batch[5:]), [2] * 10)


def test_every_epoch_and_every_seed_has_an_order_of_its_own():
    orders = {
        tuple(epoch_order(seed, epoch, 100)) for seed in (0, 1, 2**32 - 1) for epoch in (0, 1, 2)
    }
    assert len(orders) == 9


def test_a_batch_depends_on_seed_and_step_alone():
    forwards = [positions_of(5, step, 8, 30) for step in range(10)]
    epoch_order.cache_clear()
    for step in reversed(range(10)):
        positions_of(6, step, 8, 30)  # another run in between
        np.testing.assert_array_equal(positions_of(5, step, 8, 30), forwards[step])


def test_another_process_finds_the_same_batch():
    code = """if True:
        import numpy as np
        from jaxcnn.data.pipeline import shuffled
        print(*shuffled(5, np.zeros(1797))(np.arange(8) + 8 * 123456789).position)
    """
    line = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert [int(n) for n in line.stdout.split()] == positions_of(5, 123456789, 8, 1797).tolist()


def test_the_order_is_the_one_of_the_first_release():
    # Whoever changes these numbers breaks the resuming of every run there is.
    assert epoch_order(0, 0, 10).tolist() == [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]
    assert epoch_order(42, 3, 10).tolist() == [1, 6, 3, 4, 5, 9, 2, 8, 0, 7]


def test_an_order_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        epoch_order(0, 0, 10)[0] = 3


def test_a_batch_holds_the_images_labels_and_numbers_of_its_rows():
    split = make_split(50, rows=[40, 41, 5, 6, 7, 30])
    batch = train_batch(split, seed=0, step=1, batch_size=4)
    index = split.rows[positions_of(0, 1, 4, 6)]
    np.testing.assert_array_equal(batch["index"], index)
    np.testing.assert_array_equal(batch["image"], split.images.image[index])
    np.testing.assert_array_equal(batch["label"], index % 7)
    assert batch["mask"].all()


def test_a_batch_has_the_dtypes_the_step_expects():
    for batch in (train_batch(make_split(), 0, 0, 8), next(eval_batches(make_split(), 8))):
        dtypes = {name: str(array.dtype) for name, array in batch.items()}
        assert dtypes == {
            "image": "uint8",
            "label": "int32",
            "mask": "bool",
            "index": "int32",
            "epoch": "int32",
        }
        assert batch["image"].shape == (8, 2, 3, 1)


@pytest.mark.parametrize("batch_size", [1, 7, 10, 64])
@pytest.mark.parametrize("size", [1, 10, 50])
def test_evaluation_sees_every_example_once_and_in_order(size, batch_size):
    split = make_split(50, rows=np.arange(50)[::-1][:size])
    batches = list(eval_batches(split, batch_size))
    assert {len(batch["mask"]) for batch in batches} == {batch_size}
    counted = {
        name: np.concatenate([batch[name][batch["mask"]] for batch in batches])
        for name in ("index", "label", "image")
    }
    np.testing.assert_array_equal(counted["index"], split.rows)
    np.testing.assert_array_equal(counted["label"], split.label)
    np.testing.assert_array_equal(counted["image"], split.images.image[split.rows])


def test_the_padding_of_an_evaluation_is_a_real_example_that_does_not_count():
    *_, last = eval_batches(make_split(10), 4)
    assert last["mask"].tolist() == [True, True, False, False]
    assert last["index"].tolist() == [8, 9, 9, 9]


def seen_by(sampling, batch_size, steps):
    chosen = [sampling(np.arange(k * batch_size, (k + 1) * batch_size)) for k in range(steps)]
    return np.concatenate([c.position for c in chosen]), np.concatenate([c.epoch for c in chosen])


def test_balanced_sampling_takes_every_class_equally_often():
    label = np.array([0] * 90 + [1] * 9 + [3] * 1)
    position, _ = seen_by(balanced(0, label), batch_size=7, steps=30)
    rounds = label[position].reshape(-1, 3)
    np.testing.assert_array_equal(np.sort(rounds), [[0, 1, 3]] * 70)
    assert len({tuple(one) for one in rounds}) == 6  # in every order


def test_balanced_sampling_goes_through_each_class_in_epochs_of_its_own():
    label = np.array([0] * 20 + [1] * 5)
    position, epoch = seen_by(balanced(3, label), batch_size=8, steps=10)
    for k, size in ((0, 20), (1, 5)):
        mine = position[label[position] == k].reshape(-1, size)
        np.testing.assert_array_equal(np.sort(mine), [np.flatnonzero(label == k)] * (40 // size))
        np.testing.assert_array_equal(
            epoch[label[position] == k], np.repeat(np.arange(40 // size), size)
        )
        assert len({tuple(one) for one in mine}) == 40 // size


@pytest.mark.parametrize("make", [shuffled, balanced])
def test_any_part_of_a_batch_is_chosen_alone_as_in_the_whole(make):
    label = np.arange(50) % 7
    whole = make(1, label)(np.arange(200, 264))
    part = make(1, label)(np.arange(220, 230))
    np.testing.assert_array_equal(part.position, whole.position[20:30])
    np.testing.assert_array_equal(part.epoch, whole.epoch[20:30])


def test_an_epoch_counts_how_often_an_example_was_seen():
    position, epoch = seen_by(shuffled(0, np.zeros(10)), batch_size=4, steps=10)
    seen = np.zeros(10, int)
    for where, count in zip(position, epoch, strict=True):
        assert seen[where] == count
        seen[where] += 1
