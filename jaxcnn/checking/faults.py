"""What would harm training: images that cannot be used, copies, classes without images."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from jaxcnn.checking.copies import Copies
from jaxcnn.checking.examples import Examples
from jaxcnn.checking.finding import Finding, some, told
from jaxcnn.data.splits import ROLES

# A class with fewer images for training cannot be learned.
_FEW = 3
# The largest class has so many times the images of the smallest.
_UNBALANCED = 3


def class_counts(examples: Examples, roles: np.ndarray) -> dict[str, np.ndarray]:
    """{role: int64[K]}, how many images of each class can be used, for the roles there are."""
    classes = len(examples.class_names)
    usable = np.isin(np.arange(len(examples)), examples.usable)
    return {
        role: np.bincount(examples.label[usable & (roles == role)], minlength=classes)
        for role in ROLES
        if (roles == role).any()
    }


def unreadable(examples: Examples, on_bad_image: str) -> Iterator[Finding]:
    """Images that cannot be decoded."""
    if not examples.bad:
        return
    named = [f"{examples.name(n)} {examples.bad[n]}" for n in sorted(examples.bad)]
    verb = "are left out" if on_bad_image == "skip" else "cannot be used"
    yield Finding(
        "unreadable",
        on_bad_image != "skip",
        f"{len(named):,} of {len(examples):,} images {verb}: {some(named)}",
        "mend or remove them (unreadable.csv lists all)"
        + ("" if on_bad_image == "skip" else ", or give --config.data.on_bad_image=skip"),
    )


def copied(examples: Examples, roles: np.ndarray, copies: Sequence[Copies]) -> Iterator[Finding]:
    """Images that occur more than once: under two labels, in two splits, or just so."""

    def example(chosen: list[Copies], place: Callable[[int], str]) -> str:
        def one(group: Copies) -> str:
            first = set({place(n): n for n in reversed(group.numbers)}.values())
            numbers = sorted(group.numbers, key=lambda n: n not in first)
            return " = ".join(f"{examples.name(n)} ({place(n)})" for n in numbers[:3])

        return some(map(one, chosen), 1)

    def label(n: int) -> str:
        return examples.class_names[examples.label[n]]

    def role(n: int) -> str:
        return str(roles[n])

    labels = [group for group in copies if len(group.labels) > 1]
    if labels:
        times = sum(len(group.numbers) for group in labels)
        yield Finding(
            "same_image_two_labels",
            True,
            f"{told(labels, 'image')} under more than one label ({times:,} examples): "
            f"{example(labels, label)}",
            "keep the copy whose label is right and remove the others (duplicates.csv lists all)",
        )
    across = [group for group in copies if len(group.roles) > 1]
    if across:
        pairs = Counter(" and ".join(group.roles) for group in across)
        listed = ", ".join(f"{n:,} in {pair}" for pair, n in pairs.items())
        yield Finding(
            "same_image_two_splits",
            True,
            f"{told(across, 'image')} in more than one split ({listed}): {example(across, role)}",
            "remove the copies, or the test asks for what training has shown (duplicates.csv "
            "lists all)",
        )
    rest = [group for group in copies if len(group.labels) == len(group.roles) == 1]
    if rest:
        extra = sum(len(group.numbers) - 1 for group in rest)
        yield Finding(
            "copies",
            False,
            f"{extra:,} identical {'copy' if extra == 1 else 'copies'} within one class and "
            f"split: {example(rest, role)}",
            "remove them, unless such images are meant to count more",
        )


def crossing_groups(examples: Examples, roles: np.ndarray) -> Iterator[Finding]:
    """Groups of which one split has some examples and another has others."""
    units = [source.unit for source in examples.sources.values()]
    if any(unit is None for unit in units):
        return
    unit = np.concatenate([unit for unit in units if unit is not None])
    _, group = np.unique(unit, return_inverse=True)
    member = np.zeros((group.max() + 1, len(ROLES)), bool)
    for k, role in enumerate(ROLES):
        member[group[roles == role], k] = True
    crossing = np.flatnonzero(member.sum(axis=1) > 1)
    if len(crossing):
        first = np.flatnonzero((group == crossing[0]) & (roles != ""))
        which = [
            next(int(n) for n in first if roles[n] == role) for role in dict.fromkeys(roles[first])
        ]
        named = " and ".join(f"{examples.name(n)} ({roles[n]})" for n in which)
        yield Finding(
            "group_in_two_splits",
            True,
            f"{told(crossing, 'group')} in more than one split, such as {named}",
            "move each group to one split, or remove the given splits and let jaxcnn make them",
        )


def classes(examples: Examples, roles: np.ndarray) -> Iterator[Finding]:
    """Classes with no, few or many more images than others."""
    counts = class_counts(examples, roles)
    names = examples.class_names
    total = sum(counts.values(), np.zeros(len(names), np.int64))
    train = counts.get("train", np.zeros_like(total))
    few = np.flatnonzero((train < _FEW) & (total > 0))
    if len(few):
        yield Finding(
            "few_images",
            True,
            f"{told(few, 'class', 'classes')} with fewer than {_FEW} images to train on: "
            + some(f"{names[k]!r} ({train[k]})" for k in few),
            "add images of them, or remove the class",
        )
    if (none := np.flatnonzero(total == 0)).size:
        yield Finding(
            "no_images",
            False,
            f"{told(none, 'class', 'classes')} without any image: "
            + some(repr(names[k]) for k in none),
            "remove their names, if they are not meant to come later",
        )
    for role in ("validation", "test"):
        lacks = np.flatnonzero((counts.get(role, total) == 0) & (train > 0))
        if len(lacks):
            yield Finding(
                f"class_not_in_{role}",
                False,
                f"{told(lacks, 'class', 'classes')} without any image for {role}: "
                + some(repr(names[k]) for k in lacks),
                f"add some, or {role} says nothing about them",
            )
    if "test" not in counts:
        yield Finding(
            "no_test",
            False,
            "no images for test",
            "keep some aside: validation chooses the checkpoint, so its accuracy flatters",
        )
    present = np.flatnonzero(train)
    if len(present) > 1 and train[present].max() >= _UNBALANCED * train[present].min():
        most, least = (present[f(train[present])] for f in (np.argmax, np.argmin))
        yield Finding(
            "imbalance",
            False,
            f"class {names[most]!r} has {train[most] / train[least]:.1f} times the training images "
            f"of {names[least]!r} ({train[most]:,} and {train[least]:,})",
            "try --config.data.sampling=balanced, and choose the best by --config.best_metric="
            "f1_macro",
        )
