"""What is worth knowing of images: sizes, colours and files that are unlike the others."""

from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from jaxcnn.checking.examples import Examples
from jaxcnn.checking.finding import Finding, some, told

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
            f"{told(small, 'image')} less than half as large as {whose} ({target} pixels): "
            + some(_sized(examples, n) for n in small),
            "find larger versions, or give a smaller image_size: enlarging adds nothing",
        )
    long = usable[longer >= _LONG * shorter]
    if len(long):
        yield Finding(
            "long_images",
            False,
            f"{told(long, 'image')} {_LONG} times as long as wide or more: "
            + some(_sized(examples, n) for n in long),
            "look whether the centre, all that is kept, shows what matters; else crop them",
        )


def looks(examples: Examples) -> Iterator[Finding]:
    """Images without content, and formats that give the class away."""
    plain = [int(n) for n in examples.usable if examples.plain[n]]
    if plain:
        yield Finding(
            "plain_images",
            False,
            f"{told(plain, 'image')} of a single colour: {some(map(examples.name, plain))}",
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


def ignored(ignored: Sequence[str]) -> Iterator[Finding]:
    """Files in the folder that are no part of the data."""
    if ignored:
        yield Finding(
            "ignored_files",
            False,
            f"{told(ignored, 'file')} no part of the data: {some(ignored)}",
            "nothing, unless they are images: then give them a known suffix, in a class folder",
        )


def _sized(examples: Examples, number: int) -> str:
    height, width = examples.size[number]
    return f"{examples.name(number)} ({width}x{height})"
