"""Train, validation and test: who sees which examples."""

import hashlib
from typing import Any

import numpy as np

from jaxcnn.data.decode import resize_rule
from jaxcnn.data.source import Dataset, Images, Split
from jaxcnn.errors import UserError

ROLES = ("train", "validation", "test")


def hold_out(label: np.ndarray, share: float, split_seed: int) -> np.ndarray:
    """bool[N]: which examples to hold out, `share` of all and, as near as whole numbers allow, of
    each class (largest remainders; of equal ones the lower class).

    Depends on the labels, the share and `split_seed` alone.
    """
    classes, members = np.unique(label, return_inverse=True)
    quota = share * np.bincount(members, minlength=len(classes))
    counts = np.floor(quota).astype(int)
    remainders = np.argsort(counts - quota, kind="stable")
    counts[remainders[: round(share * len(label)) - counts.sum()]] += 1

    held = np.zeros(len(label), bool)
    bits = np.random.Philox(key=[split_seed, len(label)]).random_raw(len(label))
    for k, count in enumerate(counts):
        mine = np.flatnonzero(members == k)
        held[mine[np.argsort(bits[mine], kind="stable")][:count]] = True
    return held


def make_dataset(
    images: dict[str, Images],
    class_names: tuple[str, ...],
    identity: str,
    *,
    holdout: float,
    test_holdout: float,
    split_seed: int,
) -> Dataset:
    """Completes the roles a data set brings along: what it lacks is held out of train.

    images: "train", and whichever of "validation" and "test" exist.
    holdout: validation's share of (what is left of) train; 0 for no validation.
    test_holdout: test's share of train; 0 for no test.
    """
    splits = {role: Split(part, np.arange(len(part.label))) for role, part in images.items()}
    for role, share, seed in (
        ("test", test_holdout, 2 * split_seed),
        ("validation", holdout, 2 * split_seed + 1),
    ):
        if role not in splits and share:
            train = splits["train"]
            held = hold_out(train.label, share, seed)
            if not held.any():
                key = "holdout" if role == "validation" else "test_holdout"
                raise UserError(
                    f"config.data.{key}={share}: of {len(train)} images that is none for {role}; "
                    "give a larger share, or 0"
                )
            splits[role] = Split(train.images, train.rows[held])
            splits["train"] = Split(train.images, train.rows[~held])
    if not len(splits["train"]):
        raise UserError(f"config.data.holdout={holdout}: no training example is left")
    splits = {role: splits[role] for role in ROLES if role in splits and len(splits[role])}
    rule = f"{identity}; {holdout=}, {test_holdout=}, {split_seed=}"
    return Dataset(splits, class_names, hashlib.sha256(rule.encode()).hexdigest())


def channel_statistics(split: Split, at_most: int = 10_000) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel over 0..1, from at most so many images.

    Counted in whole numbers, so that the result does not depend on the order of summation.
    """
    rows = split.rows[:: -(-len(split) // at_most)]
    image = split.images.image[np.sort(rows)]
    means, stds = [], []
    for channel in range(image.shape[-1]):
        counts = np.bincount(image[..., channel].ravel(), minlength=256)
        levels = np.arange(256) / 255
        mean = (counts * levels).sum() / counts.sum()
        variance = (counts * (levels - mean) ** 2).sum() / counts.sum()
        means.append(float(mean))
        stds.append(float(np.sqrt(variance)) or 1.0)  # a constant channel stays constant
    return means, stds


def describe(dataset: Dataset) -> dict[str, Any]:
    """The content of `dataset.json`: all that a trained model needs to know of its data."""
    mean, std = channel_statistics(dataset.splits["train"])
    return {
        "class_names": dataset.class_names,
        "image_shape": dataset.image_shape,
        "mean": mean,
        "std": std,
        "resize": resize_rule(),
        "splits": {role: len(split) for role, split in dataset.splits.items()},
        "identity": dataset.identity,
    }
