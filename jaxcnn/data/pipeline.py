"""Which examples are in which batch: pure functions of (seed, step)."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from jaxcnn.data.source import Images, Split

Batch = dict[str, np.ndarray]


@lru_cache(maxsize=2)
def epoch_order(seed: int, epoch: int, num_examples: int) -> np.ndarray:
    """The order of an epoch: a permutation of 0..num_examples-1, int64.

    Sorts raw Philox bits, which NumPy keeps stable over versions (its `permutation` may change).
    """
    bits = np.random.Philox(key=[seed, epoch]).random_raw(num_examples)
    order = np.argsort(bits, kind="stable")
    order.setflags(write=False)
    return order


def batch_positions(seed: int, step: int, batch_size: int, num_examples: int) -> np.ndarray:
    """Positions int64[batch_size] in the split of the batch that update `step` (from 0) uses.

    Epochs follow one another without a gap: each example comes once an epoch, every batch is full,
    and a batch may begin in one epoch and end in the next.
    """
    seen = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs, places = np.divmod(seen, num_examples)
    positions = np.empty(batch_size, np.int64)
    for epoch in np.unique(epochs):
        mine = epochs == epoch
        positions[mine] = epoch_order(seed, int(epoch), num_examples)[places[mine]]
    return positions


def train_batch(split: Split, seed: int, step: int, batch_size: int) -> Batch:
    """The batch of update `step` (from 0); see `jaxcnn.core.step` for its arrays."""
    positions = batch_positions(seed, step, batch_size, len(split))
    return _gather(split.images, split.rows[positions], batch_size)


def eval_batches(split: Split, batch_size: int) -> Iterator[Batch]:
    """Every example of a split once, in order; the last batch is padded and masked."""
    for start in range(0, len(split), batch_size):
        yield _gather(split.images, split.rows[start : start + batch_size], batch_size)


def _gather(images: Images, index: np.ndarray, batch_size: int) -> Batch:
    mask = np.arange(batch_size) < len(index)
    index = np.pad(index, (0, batch_size - len(index)), mode="edge")
    return {
        "image": images.image[index],
        "label": images.label[index],
        "mask": mask,
        "index": index.astype(np.int32),
    }
