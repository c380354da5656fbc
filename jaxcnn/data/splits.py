"""Train, validation and test: who sees which examples."""

import dataclasses
import hashlib
import logging
from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxcnn.data.decode import Decoding
from jaxcnn.data.listing import counts_of
from jaxcnn.data.looks import usual_looks
from jaxcnn.data.pipeline import eval_batches
from jaxcnn.data.resize import resize_rule
from jaxcnn.data.source import Dataset, Images, Source, Split, Stream
from jaxcnn.errors import UserError, first_few

logger = logging.getLogger(__name__)

ROLES = ("train", "validation", "test")


def hold_out(
    label: np.ndarray, share: float, split_seed: int, unit: np.ndarray | None = None
) -> np.ndarray:
    """Returns bool[N], the examples to hold out: `share` of all and of each class.

    unit: uint64[N], equal for examples that must stay together, and a hash of their names. Adding
      examples then leaves the others where they are, but for a few that keep the shares right.
      None: each example stands alone, and its number is its name.
    As near as whole numbers allow (largest remainders; of equal ones the lower class): units are
    taken in an order that depends on `split_seed`, where that brings the classes closer to their
    shares.
    """
    classes, members = np.unique(label, return_inverse=True)
    quota = share * np.bincount(members, minlength=len(classes))
    counts = np.floor(quota).astype(int)
    remainders = np.argsort(counts - quota, kind="stable")
    counts[remainders[: round(share * len(label)) - counts.sum()]] += 1

    if unit is None:
        order = np.random.Philox(key=[split_seed, len(label)]).random_raw(len(label))
    else:
        order = _mix(unit, split_seed)
    by_unit = np.argsort(order, kind="stable")
    edges = np.flatnonzero(np.diff(order[by_unit])) + 1
    starts, stops = [0, *edges.tolist()], [*edges.tolist(), len(label)]
    class_of, wanted = members[by_unit].tolist(), counts.tolist()
    selected = np.zeros(len(label), bool)
    for start, stop in zip(starts, stops, strict=True):
        gain = 0  # how much smaller the sum of squared distances from the counts gets
        for k in class_of[start:stop]:
            gain += 2 * wanted[k] - 1
            wanted[k] -= 1
        if gain > 0:
            selected[by_unit[start:stop]] = True
        else:
            for k in class_of[start:stop]:
                wanted[k] += 1
    return selected


def keep_one(label: np.ndarray, selected: np.ndarray, unit: np.ndarray | None = None) -> np.ndarray:
    """Returns bool[N], `selected` without one unit of each class that would be held out whole: the
    smallest, and of equal ones the first. A class that nobody was trained on measures nothing.
    """
    selected = selected.copy()
    for k in np.setdiff1d(label[selected], label[~selected]):
        mine = label == k
        if not selected[mine].all():
            continue  # a unit of another class has brought one
        if unit is None:
            selected[np.flatnonzero(mine)[0]] = False
        else:
            units, first, sizes = np.unique(
                unit[np.isin(unit, unit[mine])], return_index=True, return_counts=True
            )
            selected[unit == units[np.lexsort((first, sizes))[0]]] = False
    return selected


def _mix(unit: np.ndarray, seed: int) -> np.ndarray:
    """Returns another hash for each seed (the finaliser of SplitMix64, Steele et al. 2014)."""
    mixed = unit + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return mixed ^ (mixed >> np.uint64(31))


def make_dataset(
    images: dict[str, Images | Stream],
    sources: Mapping[str, Source],
    decoding: Decoding,
    *,
    holdout: float,
    test_holdout: float,
    split_seed: int,
) -> Dataset:
    """Completes the roles a data set brings along: what it lacks is held out of train.

    images: "train", and whichever of "validation" and "test" exist. Where there is a "validation"
      but no "test", none is made: all images but those were given to train on.
    sources: what the images of each role were read from; their units are not split.
    holdout: validation's share of (what is left of) train; 0 for no validation.
    test_holdout: test's share of train; 0 for no test.
    """
    splits = {role: Split(part, usable(part), sources[role]) for role, part in images.items()}
    for role, share, seed in (
        ("test", 0.0 if "validation" in images else test_holdout, 2 * split_seed),
        ("validation", holdout, 2 * split_seed + 1),
    ):
        if role not in splits and share:
            train = splits["train"]
            unit = sources["train"].unit
            unit = unit if unit is None else unit[train.rows]
            selected = hold_out(train.label, share, seed, unit)
            key = f"config.data.{'holdout' if role == 'validation' else 'test_holdout'}={share}"
            if not selected.any():
                raise UserError(
                    f"{key}: of {len(train)} images that is none for {role}; give a larger share, "
                    "or 0"
                )
            selected = keep_one(train.label, selected, unit)
            if not selected.any():
                raise UserError(
                    f"{key}: the classes it falls on have no other image or group to train on; add "
                    "some, or give 0"
                )
            splits[role] = dataclasses.replace(train, rows=train.rows[selected])
            splits["train"] = dataclasses.replace(train, rows=train.rows[~selected])
    if not len(splits["train"]):
        raise UserError(f"config.data.holdout={holdout}: no training example is left")
    splits = {role: splits[role] for role in ROLES if role in splits and len(splits[role])}
    left_out = [(role, bad.row) for role, part in images.items() for bad in part.bad]
    identity = "; ".join(f"{role}: {source.identity}" for role, source in sources.items())
    rule = f"{identity}; {holdout=}, {test_holdout=}, {split_seed=}"
    rule += f", {left_out=}" if left_out else ""
    rows = hashlib.sha256(b"".join(split.rows.tobytes() for split in splits.values())).hexdigest()
    rule += f", {rows=}"
    class_names = sources["train"].class_names
    return Dataset(splits, class_names, hashlib.sha256(rule.encode()).hexdigest(), decoding)


def check_shapes(images: Mapping[str, Images | Stream]) -> None:
    """UserError where the images of two roles differ in size or channels."""
    shapes = {role: "x".join(map(str, part.shape)) for role, part in images.items()}
    if len(set(shapes.values())) > 1:
        shapes_of_roles = ", ".join(f"{role}: {shape}" for role, shape in shapes.items())
        raise UserError(
            f"images differ ({shapes_of_roles} pixels): give --config.data.image_size=N"
        )


def check_trainable(dataset: Dataset) -> None:
    """UserError for a class that validation or test has and train lacks; the log says which classes
    validation and test lack.
    """
    names, trained = dataset.class_names, np.unique(dataset.splits["train"].label)
    for role in ROLES[1:]:
        if role not in dataset.splits:
            continue
        tested = np.unique(dataset.splits[role].label)
        if len(unknown := np.setdiff1d(tested, trained)):
            raise UserError(
                f"config.data: train has no images of {len(unknown):,} of the classes that {role} "
                f"has: {first_few(repr(names[k]) for k in unknown)}; add some, or choose other "
                "splits"
            )
        if len(untold := np.setdiff1d(trained, tested)):
            logger.info(
                "%s has no images of %s of %s classes, and says nothing about them: %s",
                role,
                f"{len(untold):,}",
                f"{len(trained):,}",
                first_few(repr(names[k]) for k in untold),
            )


def check_classes_left(images: Images | Stream, class_names: tuple[str, ...]) -> None:
    """UserError where leaving out what cannot be decoded leaves a class of train without images."""
    lost = np.setdiff1d(images.label, images.label[usable(images)])
    if len(lost):
        raise UserError(
            f"class {class_names[lost[0]]!r} has no image left that can be used; mend them, or "
            "remove the class"
        )


def usable(images: Images | Stream) -> np.ndarray:
    """Returns the rows that hold an image, int64[n]."""
    rows = np.arange(len(images.label))
    return np.delete(rows, [bad.row for bad in images.bad])


def channel_statistics(split: Split, at_most: int = 10_000) -> tuple[list[float], list[float]]:
    """Returns mean and standard deviation of each channel over 0..1, of `at_most` images.

    Counted in whole numbers, so that the result does not depend on the order of summation.
    """
    sample = Split(split.images, np.sort(split.rows[:: -(-len(split) // at_most)]))
    counts = np.zeros((split.images.shape[2], 256), np.int64)
    for batch in eval_batches(sample, min(len(sample), 256)):
        for channel, histogram in enumerate(counts):
            levels = batch["image"][batch["mask"], ..., channel]
            histogram += np.bincount(levels.ravel(), minlength=256)
    means, stds = [], []
    levels = np.arange(256) / 255
    for histogram in counts:
        mean = (histogram * levels).sum() / histogram.sum()
        variance = (histogram * (levels - mean) ** 2).sum() / histogram.sum()
        means.append(float(mean))
        stds.append(float(np.sqrt(variance)) or 1.0)  # a constant channel stays constant
    return means, stds


def describe(
    dataset: Dataset,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> dict[str, Any]:
    """Returns the content of `dataset.json`: all that a trained model needs to know of its data.

    mean, std: of each channel over 0..1, to normalise with; None: those of train.
    """
    if mean is None or std is None:
        mean, std = map(tuple, channel_statistics(dataset.splits["train"]))
    channels = dataset.image_shape[2]
    if not len(mean) == len(std) == channels:
        raise UserError(
            f"config.data.mean={mean!r}, config.data.std={std!r}: a number is needed for each "
            f"channel of the images, {channels} in all; or give another --config.data.channels"
        )
    facts = {
        "class_names": dataset.class_names,
        "image_shape": dataset.image_shape,
        "mean": list(mean),
        "std": list(std),
        "looks": usual_looks(dataset.splits["train"]),
        "resize": resize_rule(dataset.decoding),
        "splits": {role: len(split) for role, split in dataset.splits.items()},
        "identity": dataset.identity,
    }
    if dataset.bad:
        facts["left_out"] = [str(bad) for bad in dataset.bad]
    source = dataset.splits["train"].source
    if source is not None and source.left_out:
        facts["not_used"] = counts_of(source.left_out)
    return facts
