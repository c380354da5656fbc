"""How good a model is, in one sentence; and what keeps that sentence from being the whole truth."""

from typing import TYPE_CHECKING, NamedTuple

from jaxcnn.report.style import short_name

if TYPE_CHECKING:
    from jaxcnn.analysis.measure import Measured

_NAME = 40


class Note(NamedTuple):
    """Something to know before the numbers are believed, and what to do about it."""

    what: str
    advice: str = ""
    serious: bool = False


def verdict(measured: "Measured", split: str, baseline: float | None = None) -> str:
    """One sentence: accuracy beside that of always giving one answer, the hardest class, and the
    most common confusion.

    split: what the images are ("test"). baseline: accuracy of always answering the most frequent
    class, where that is not the most frequent one of these images.
    """
    accuracy = measured.metrics["accuracy"]
    if accuracy.value is None:
        return f"How good the model is on {split} images is not known: {accuracy.reason}."
    names = list(measured.classes)
    count = int(measured.support.sum())
    told = f"Right on {_percent(accuracy.value)} of {count:,} {split} image{'s' * (count != 1)}"
    if accuracy.low is not None and accuracy.high is not None:
        told += f" (95 % interval {100 * accuracy.low:.1f} to {_percent(accuracy.high)})"
    frequent = _named(names[int(measured.support.argmax())])
    if (measured.support > 0).sum() == 1:
        return f"{told}, but all are of one class, {frequent}: a constant answer does as well."
    chance = float(measured.support.max() / count) if baseline is None else baseline
    told += f", {_compared(accuracy.low, accuracy.high, accuracy.value, chance)} always answering "
    told += f"{frequent}, the most frequent class ({_percent(chance)}); "
    if not measured.confusions:
        return f"{told}no image is misclassified."
    hardest, f1 = _hardest(measured)
    worst = measured.confusions[0]
    return (
        f"{told}the hardest class is {_named(hardest)} (F1 {_percent(f1)}), and the most common "
        f"mistake is to take {_named(names[worst.label])} for {_named(names[worst.prediction])} "
        f"({worst.count:,} of {measured.support[worst.label]:,})."
    )


def _compared(low: float | None, high: float | None, value: float, chance: float) -> str:
    """In words that the interval allows."""
    if (value if high is None else high) < chance:
        return "which is worse than"
    if (value if low is None else low) <= chance:
        return "which is not clearly better than"
    return "which is better than"


def _hardest(measured: "Measured") -> tuple[str, float]:
    """The class of least F1 among those that have images; and its F1."""
    scored = {
        name: found["f1"].value or 0.0
        for (name, found), count in zip(measured.classes.items(), measured.support, strict=True)
        if count
    }
    hardest = min(scored, key=scored.__getitem__)
    return hardest, scored[hardest]


def split_note(split: str) -> Note | None:
    """What is wrong with judging a model by these images; None where they are a test."""
    if split == "validation":
        return Note(
            "These are validation images: they chose the checkpoint, so the numbers flatter it.",
            "For an honest number keep a test split aside, or evaluate other images.",
        )
    if split == "train":
        return Note(
            "These are the images that the model was trained on: the numbers say what it "
            "remembers, not how good it is on new images.",
            "Evaluate the test split.",
            serious=True,
        )
    return None


def unreadable_note(count: int) -> Note | None:
    """About images that were left out; None where there were none."""
    if not count:
        return None
    return Note(
        f"{count:,} image{'s' * (count != 1)} could not be read and {'are' if count > 1 else 'is'} "
        "not counted.",
        "check_data lists them.",
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _named(name: str) -> str:
    return f"“{short_name(name, _NAME)}”"
