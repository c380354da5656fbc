"""Which examples are in which batch: pure functions of (seed, step)."""

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from jaxcnn.data.source import Split, Stream
from jaxcnn.data.stream import stream_batches

Batch = dict[str, np.ndarray]


class Selection(NamedTuple):
    """Examples of a split: position int64[B] in it, and epoch int64[B], how often each has been
    seen before.
    """

    position: np.ndarray
    epoch: np.ndarray


# int64[B], numbers from 0 of the examples a run has seen -> which those are
Sampling = Callable[[np.ndarray], Selection]


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """Returns the order of an epoch: a permutation of 0..num_examples-1, int64.

    Sorts raw Philox bits, which NumPy keeps stable over versions (its `permutation` may change).
    """
    bits = np.random.Philox(key=[seed, epoch]).random_raw(num_examples)
    order = np.argsort(bits, kind="stable")
    order.setflags(write=False)
    return order


def shuffled(seed: int, label: np.ndarray) -> Sampling:
    """Samples each example once an epoch, in random order. Epochs follow one another without a gap:
    a batch may begin in one and end in the next.
    """
    return lambda seen: _in_order(seed, seen, len(label))


def balanced(seed: int, label: np.ndarray) -> Sampling:
    """Samples all classes equally often: each round takes one example of each class, in random
    order; the examples of a class come in epochs of their own.
    """
    members = [np.flatnonzero(label == k) for k in np.unique(label)]
    rounds = epoch_order.__wrapped__  # short, and never the same twice
    order = lru_cache(maxsize=2 * len(members))(epoch_order.__wrapped__)

    def choose(seen: np.ndarray) -> Selection:
        turn = seen // len(members)
        # Orders of rounds and of classes must not be those of epochs: keys no other seed has.
        classes = _in_order(seed + 2**32, seen, len(members), rounds).position
        position, epoch = np.empty(len(seen), np.int64), np.empty(len(seen), np.int64)
        for k in np.unique(classes):
            mine = classes == k
            key = seed + (int(k) + 2 << 32)
            of_class = _in_order(key, turn[mine], len(members[k]), order)
            position[mine], epoch[mine] = members[k][of_class.position], of_class.epoch
        return Selection(position, epoch)

    return choose


SAMPLINGS: dict[str, Callable[[int, np.ndarray], Sampling]] = {
    "shuffle": shuffled,
    "balanced": balanced,
}


def train_rows(
    split: Split, sampling: Sampling, step: int, batch_size: int, share: slice = slice(None)
) -> Batch:
    """Returns the batch of update `step` (from 0) without its images, see `jaxcnn.core.step`.

    share: the part of the batch this process loads; a slice of batch_size examples.
    """
    chosen = sampling(np.arange(step * batch_size, (step + 1) * batch_size)[share])
    row = split.rows[chosen.position]
    return _batch(split, row, chosen.epoch, np.ones(len(row), bool))


def eval_rows(split: Split, start: int, batch_size: int, share: slice = slice(None)) -> Batch:
    """Returns the batch of examples from number `start`, in order, without images; padded, masked.

    share: see `train_rows`.
    """
    rows = split.rows[start : start + batch_size]
    mask = np.arange(batch_size) < len(rows)
    rows = np.pad(rows, (0, batch_size - len(rows)), mode="edge")[share]
    return _batch(split, rows, np.zeros(len(rows), np.int64), mask[share])


def train_batches(
    split: Split,
    sampling: Sampling,
    seed: int,
    steps: range,
    batch_size: int,
    share: slice = slice(None),
    with_images: bool = True,
) -> Iterator[Batch]:
    """Yields the batches of updates `steps`, each a pure function of seed and step.

    with_images: False where the device has them and needs no more than "index".
    """

    def rows(step: int) -> Batch:
        return train_rows(split, sampling, step, batch_size, share)

    return _with_images(split, rows, steps, seed) if with_images else map(rows, steps)


def eval_batches(
    split: Split, batch_size: int, with_images: bool = True, share: slice = slice(None)
) -> Iterator[Batch]:
    """Yields every example of a split once, in order; the last batch is padded and masked.

    share: see `train_rows`.
    """

    def rows(number: int) -> Batch:
        return eval_rows(split, number * batch_size, batch_size, share)

    numbers = range(-(-len(split) // batch_size))
    return _with_images(split, rows, numbers, None) if with_images else map(rows, numbers)


def _with_images(
    split: Split, rows: Callable[[int], Batch], numbers: range, seed: int | None
) -> Iterator[Batch]:
    """Batches with their images: from memory, or read and decoded ahead by threads."""
    images = split.images
    if isinstance(images, Stream):
        yield from stream_batches(images, rows, numbers, seed)
    else:
        for number in numbers:
            batch = rows(number)
            yield batch | {"image": images.image[batch["index"]]}


def _in_order(
    seed: int,
    seen: np.ndarray,
    num_examples: int,
    order: Callable[[int, int, int], np.ndarray] = epoch_order,
) -> Selection:
    """Returns examples number `seen` of epochs that follow one another without a gap."""
    epochs, places = np.divmod(seen, num_examples)
    position = np.empty(len(seen), np.int64)
    for epoch in np.unique(epochs):
        mine = epochs == epoch
        position[mine] = order(seed, int(epoch), num_examples)[places[mine]]
    return Selection(position, epochs)


def _batch(split: Split, row: np.ndarray, epoch: np.ndarray, mask: np.ndarray) -> Batch:
    return {
        "label": split.images.label[row],
        "mask": mask,
        "index": row.astype(np.int32),
        "epoch": epoch.astype(np.int32),
    }


# As many as 5,000 images of CIFAR-10 have.
PIXELS = 5_000 * 32 * 32


def sample_images(split: Split, pixels: int = PIXELS) -> np.ndarray:
    """Returns evenly spaced examples of a split, uint8[n, H, W, C], of at most `pixels` pixels in
    all, but at least one example. A function of the data alone.
    """
    height, width, _ = split.images.shape
    number = max(1, min(len(split), pixels // (height * width)))
    rows = split.rows[np.linspace(0, len(split) - 1, number).round().astype(np.int64)]
    chosen = Split(split.images, rows, split.source)
    batches = eval_batches(chosen, min(number, 256))
    return np.concatenate([batch["image"][batch["mask"]] for batch in batches])
