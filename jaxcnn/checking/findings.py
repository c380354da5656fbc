"""What is found in a data set: faults that harm training, and what is worth knowing.

Each function yields a Finding for what it looks at; `find` calls them all.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jaxcnn.checking.examples import Copies, Examples, Leak
from jaxcnn.data.labels import alike, several_in_one
from jaxcnn.data.listing import LeftOut, notes
from jaxcnn.data.splits import ROLES
from jaxcnn.errors import first_few


class Finding(NamedTuple):
    """One thing found. kind: its name in check.json. harm: whether it would harm training.

    what: what was found; advice: what to do about it, one sentence each.
    """

    kind: str
    harm: bool
    what: str
    advice: str


def find(
    examples: Examples,
    roles: np.ndarray,
    copies: Sequence[Copies],
    *,
    image_size: int | None,
    on_bad_image: str,
    leaks: Sequence[Leak] = (),
    left_out: LeftOut | None = None,
) -> list[Finding]:
    """Returns all findings, the harmful ones first.

    roles: the split each example is in. image_size, on_bad_image: as in the config.
    leaks: groups in more than one split.
    left_out: what lies beside the examples and is none.
    """
    findings = [
        *unreadable(examples, on_bad_image),
        *copied(examples, roles, copies),
        *leaking_groups(examples, roles, leaks),
        *names(examples),
        *classes(examples, roles),
        *sizes(examples, image_size),
        *values(examples),
        *looks(examples),
        *(Finding(one.why, False, one.what, one.advice) for one in notes(left_out or {})),
    ]
    return sorted(findings, key=lambda finding: not finding.harm)


def count_of(things: Sequence[object] | np.ndarray, one: str, many: str | None = None) -> str:
    """Returns "1 image is", "2 images are"; with the plural given, "1 class", "2 classes"."""
    if len(things) == 1:
        return f"1 {one} is" if many is None else f"1 {one}"
    return f"{len(things):,} {one}s are" if many is None else f"{len(things):,} {many}"


# A class with fewer images for training cannot be learned.
_FEW = 3
# The largest class has so many times the images of the smallest.
_UNBALANCED = 3


def class_counts(examples: Examples, roles: np.ndarray) -> dict[str, np.ndarray]:
    """Returns {role: int64[K]}, the usable images of each class, for the roles there are."""
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
        f"{len(named):,} of {len(examples):,} images {verb}: {first_few(named)}",
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

        return first_few(map(one, chosen), 1)

    def role(n: int) -> str:
        return str(roles[n])

    labels = [group for group in copies if len(group.labels) > 1]
    if labels:
        times = sum(len(group.numbers) for group in labels)
        yield Finding(
            "same_image_two_labels",
            True,
            f"{count_of(labels, 'image')} under more than one label ({times:,} examples): "
            f"{example(labels, examples.class_name)}",
            "keep the copy whose label is right and remove the others (duplicates.csv lists all)",
        )
    split = [group for group in copies if len(group.roles) > 1]
    if split:
        pairs = Counter(" and ".join(group.roles) for group in split)
        listed = ", ".join(f"{n:,} in {pair}" for pair, n in pairs.items())
        yield Finding(
            "same_image_two_splits",
            True,
            f"{count_of(split, 'image')} in more than one split ({listed}): {example(split, role)}",
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


def leaking_groups(
    examples: Examples, roles: np.ndarray, leaks: Sequence[Leak]
) -> Iterator[Finding]:
    """Groups of which one split has some examples and another has others."""
    if leaks:
        first = {str(roles[n]): n for n in reversed(leaks[0].numbers)}
        named = " and ".join(f"{examples.name(n)} ({role})" for role, n in reversed(first.items()))
        yield Finding(
            "group_in_two_splits",
            True,
            f"{count_of(leaks, 'group')} in more than one split, such as {leaks[0].name!r} of "
            f"{named}",
            "move each group to one split, or remove the given splits and let jaxcnn make them "
            "(groups.csv lists all)",
        )


def names(examples: Examples) -> Iterator[Finding]:
    """Names of classes that look alike, or like several in one."""
    if groups := alike(examples.class_names):
        yield Finding(
            "alike_names",
            True,
            f"{count_of(groups, 'name', 'names')} of classes in more than one spelling: "
            + first_few(" and ".join(map(repr, group)) for group in groups),
            "make them one class, or rename one where they are two",
        )
    if several := several_in_one(examples.class_names):
        yield Finding(
            "several_labels",
            True,
            f"{count_of(several, 'class', 'classes')} that look like several labels in one: "
            + first_few(map(repr, several)),
            "keep one label an image, or leave images with several out: each combination is "
            "learned as a class of its own",
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
            f"{count_of(few, 'class', 'classes')} with fewer than {_FEW} images to train on: "
            + first_few(f"{names[k]!r} ({train[k]})" for k in few),
            "add images of them, or remove the class",
        )
    if (none := np.flatnonzero(total == 0)).size:
        yield Finding(
            "no_images",
            False,
            f"{count_of(none, 'class', 'classes')} without any image: "
            + first_few(repr(names[k]) for k in none),
            "remove their names, if they are not meant to come later",
        )
    for role in ("validation", "test"):
        lacks = np.flatnonzero((counts.get(role, total) == 0) & (train > 0))
        if len(lacks):
            yield Finding(
                f"class_not_in_{role}",
                False,
                f"{count_of(lacks, 'class', 'classes')} without any image for {role}: "
                + first_few(repr(names[k]) for k in lacks),
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


# The longer side is so many times the shorter: the centre crop loses most of the image.
_LONG = 3
# Guessing the class from the file's format alone is right for so much more of the images than
# always guessing the largest class.
_TELLING = 0.2


def sizes(examples: Examples, image_size: int | None) -> Iterator[Finding]:
    """Images of other sizes than the model wants."""
    usable = examples.usable
    if not len(usable):
        return
    size = examples.size[usable]
    shorter, longer = size.min(axis=1), size.max(axis=1)
    if image_size is None and (size != size[0]).any():
        yield Finding(
            "mixed_sizes",
            False,
            f"{len(np.unique(size, axis=0)):,} sizes of images, and no config.data.image_size",
            "training needs --config.data.image_size=N; half of the images have a shorter side of "
            f"{int(np.median(shorter))} pixels or more",
        )
    target = image_size or int(np.median(shorter))
    small = usable[2 * shorter < target]
    if len(small):
        whose = "config.data.image_size" if image_size else "the median"
        yield Finding(
            "small_images",
            False,
            f"{count_of(small, 'image')} less than half as large as {whose} ({target} pixels): "
            + first_few(_sized(examples, n) for n in small),
            "find larger versions, or give a smaller image_size: enlarging adds nothing",
        )
    long = usable[longer >= _LONG * shorter]
    if len(long):
        yield Finding(
            "long_images",
            False,
            f"{count_of(long, 'image')} {_LONG} times as long as wide or more: "
            + first_few(_sized(examples, n) for n in long),
            "look whether the centre, all that is kept, shows what matters; else crop them",
        )


# Fewer levels than this of 256 that hold nearly all pixels are too few to tell things apart.
_FEW_LEVELS, _NEARLY_ALL = 32, 0.999


def values(examples: Examples) -> Iterator[Finding]:
    """Pixels that use few levels, and alpha channels that are hardly alpha."""
    shares = np.cumsum(examples.levels) / max(1, examples.levels.sum())
    low, high = np.searchsorted(shares, [(1 - _NEARLY_ALL) / 2, (1 + _NEARLY_ALL) / 2]).tolist()
    if len(examples.usable) and high - low < _FEW_LEVELS and not examples.plain.all():
        yield Finding(
            "few_levels",
            True,
            f"{_NEARLY_ALL:.1%} of all pixels lie between the levels {low} and {high} of 0 to 255",
            "look whether they hold more: more than 8 bits may need --config.data.window="
            "'(LOW, HIGH)', and 8 bits that count from 0 to 1 or to 15 a larger scale",
        )
    odd = np.flatnonzero(examples.odd_alpha)
    if len(odd):
        yield Finding(
            "odd_alpha",
            True,
            f"{count_of(odd, 'image')} laid on the background by a last band that does not look "
            f"like alpha: {first_few(map(examples.name, odd.tolist()))}",
            "keep the bands to learn from, one or three; a fourth one of light is no transparency",
        )


def looks(examples: Examples) -> Iterator[Finding]:
    """Images without content, and formats that give the class away."""
    plain = [int(n) for n in examples.usable if examples.plain[n]]
    if plain:
        yield Finding(
            "plain_images",
            False,
            f"{count_of(plain, 'image')} of a single colour: "
            + first_few(map(examples.name, plain)),
            "remove them, unless an empty picture is what its class means",
        )
    for kind, values in (("format", examples.format), ("colour mode", examples.mode)):
        if (right := _guessed(examples, values)) is not None:
            yield Finding(
                f"{kind.split()[-1]}_tells_class",
                False,
                f"the file's {kind} alone tells the class of {right:.0%} of the images",
                "beware: a network may learn that and not the subject; store all of them alike",
            )


def _guessed(examples: Examples, values: list[str]) -> float | None:
    """The share of images whose class the commonest of their value is; None where that is little
    more than the share of the largest class.
    """
    usable = examples.usable
    pairs = Counter(zip((values[n] for n in usable), examples.label[usable].tolist(), strict=True))
    best: dict[str, int] = {}
    for (value, _), n in pairs.items():
        best[value] = max(n, best.get(value, 0))
    if len(best) < 2:
        return None
    right = sum(best.values()) / len(usable)
    largest = np.bincount(examples.label[usable]).max() / len(usable)
    return right if right - largest >= _TELLING else None


def _sized(examples: Examples, number: int) -> str:
    height, width = examples.size[number]
    return f"{examples.name(number)} ({width}x{height})"
