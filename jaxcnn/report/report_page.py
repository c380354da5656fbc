"""The page about a trained model: how good it is, where it fails, what it looks at."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from jaxcnn.analysis.measure import CALIBRATION
from jaxcnn.report import tables
from jaxcnn.report.galleries import Gallery, gallery_html
from jaxcnn.report.page import (
    Html,
    Note,
    Section,
    chart,
    command,
    details,
    heading,
    join,
    page,
    paragraph,
    summary,
    table,
)
from jaxcnn.report.style import Chart, short_name

if TYPE_CHECKING:
    from jaxcnn.analysis.intervals import Estimate
    from jaxcnn.analysis.measure import Measured

# Characters of a class's name in a sentence.
_NAME = 40


class Report(NamedTuple):
    """The content of a report. What is empty has no section.

    verdict: see `verdict`. split: what the images are ("test").
    facts: short answers under the verdict: model, data, checkpoint.
    charts: by name: curves, confusion_matrix, classes, reliability, projection, robustness.
    galleries: by name: predictions, misclassified, label_errors, grad_cam, occlusion, filters,
      feature_maps, neighbours.
    suspects: likely label errors: name, label, suggestion, margin (probability of the suggestion
      minus that of the label).
    augmented: the same images with test-time augmentation.
    calibration: metrics of the probabilities by temperature ("plain", "temperature 1.2"), and a
      sentence about it.
    robustness: accuracy, or another share, by what was done to the images.
    parameters: name, shape and size of each array of the model.
    config, environment: flat. command: that repeats the run.
    """

    title: str
    verdict: str
    measured: "Measured"
    split: str
    facts: Mapping[str, object] = {}
    notes: Sequence[Note] = ()
    charts: Mapping[str, Chart] = {}
    galleries: Mapping[str, Gallery] = {}
    suspects: Sequence[tuple[str, str, str, float]] = ()
    augmented: "Measured | None" = None
    calibration: Mapping[str, Mapping[str, "Estimate"]] = {}
    calibration_note: str = ""
    robustness: Mapping[str, "Estimate"] = {}
    parameters: Sequence[tuple[str, str, int]] = ()
    config: Mapping[str, object] = {}
    environment: Mapping[str, object] = {}
    command: str = ""


def report_page(content: Report) -> str:
    """The HTML of one file without anything from elsewhere."""
    numbers = Section(
        "The numbers",
        tables.metrics_table(content.measured),
        f"Measured on {int(content.measured.support.sum()):,} {content.split} images. With other "
        "images of the same kind a number would lie in its interval in 19 cases of 20.",
    )
    others = [Section(title, body(content), intro) for title, body, intro in _SECTIONS]
    lead = summary(content.verdict, content.facts, content.notes)
    return page(content.title, [numbers, *others], lead, "Made by jaxcnn.")


def _pictures(content: Report, *names: str) -> Html:
    """The charts and galleries of these names that are there."""
    charts = [chart(*content.charts[name]) for name in names if name in content.charts]
    shown = [gallery_html(content.galleries[name]) for name in names if name in content.galleries]
    return join(charts + shown)


def _titled(content: Report, titles: Mapping[str, str]) -> Html:
    """Galleries under headings of their own."""
    shown = ((title, _pictures(content, name)) for name, title in titles.items())
    return join(join([heading(title), body]) for title, body in shown if body)


def _augmented(content: Report) -> Html:
    if content.augmented is None:
        return Html("")
    ways = {
        "plain": content.measured.metrics,
        "with test-time augmentation": content.augmented.metrics,
    }
    return tables.compared_table(ways, tables.ANSWERS)


def _groups(content: Report) -> Html:
    return tables.groups_table(content.measured) if content.measured.groups else Html("")


def _calibration(content: Report) -> Html:
    parts = [_pictures(content, "reliability")]
    if len(content.calibration) > 1:
        parts.append(tables.compared_table(content.calibration, CALIBRATION))
        parts.append(
            paragraph(
                "Dividing the logits by a temperature fitted on held-out images changes how sure "
                f"the model is, never its answer. {content.calibration_note}"
            )
        )
    return join(parts)


def _label_errors(content: Report) -> Html:
    header = ("image", "label", "perhaps", "margin")
    listed = tables.folded(header, content.suspects, "images") if content.suspects else ""
    return join([_pictures(content, "label_errors"), listed])


def _robustness(content: Report) -> Html:
    listed = tables.estimates_table(content.robustness, "images") if content.robustness else ""
    return join([_pictures(content, "robustness"), listed])


def _origin(content: Report) -> Html:
    total = sum(size for _, _, size in content.parameters)
    arrays = f"{len(content.parameters):,} arrays, {total:,} parameters"
    parts: dict[str, tuple[Sequence[str], Sequence[Sequence[object]]]] = {
        arrays: (("array", "shape", "size"), content.parameters),
        "Config": (("key", "value"), list(content.config.items())),
        "Environment": (("what", "value"), list(content.environment.items())),
    }
    return join(
        details(title, table(header, rows[: tables.MOST]))
        for title, (header, rows) in parts.items()
        if rows
    )


# Title, content and introduction of each section after the first.
_SECTIONS: tuple[tuple[str, Callable[[Report], Html], str], ...] = (
    (
        "Training",
        lambda content: _pictures(content, "curves"),
        "Loss should fall and accuracy rise. Where validation turns back while train goes on, "
        "the model begins to learn its images by heart. Train numbers are taken while "
        "learning, on augmented images.",
    ),
    (
        "Test-time augmentation",
        _augmented,
        "Each image is seen in several versions, and the probabilities are averaged: often a "
        "little better, and slower by the number of versions.",
    ),
    (
        "What is taken for what",
        lambda content: join(
            [_pictures(content, "confusion_matrix"), tables.confusions_table(content.measured)]
        ),
        "A row is a label, a column a prediction. Right answers are on the diagonal; "
        "everything beside it is a mistake, the stronger its colour the more "
        "frequent for its row.",
    ),
    (
        "Misclassified images",
        lambda content: _pictures(content, "misclassified"),
        "The mistakes of which the model was most sure come first: they show what it does not "
        "understand, and often labels that are wrong.",
    ),
    (
        "Classes",
        lambda content: join(
            [_pictures(content, "classes"), tables.classes_table(content.measured)]
        ),
        "Precision: of what is called this class, how much is. Recall: of what is this class, "
        "how much is called so. F1 joins both. Lines are 95 % intervals: with few images of a "
        "class they are long.",
    ),
    (
        "Groups",
        _groups,
        "The same numbers for each group of images by itself. A group far below the others is "
        "one that the model should not be trusted with.",
    ),
    (
        "Can its probabilities be believed?",
        _calibration,
        "Of predictions made with 80 % confidence, 80 % should be right: then bars end at "
        "their marks. Bars below their marks: the model is too sure of itself.",
    ),
    (
        "Likely label errors",
        _label_errors,
        "Images on which the model firmly disagrees with the label. Some labels here are "
        "mistakes, others are hard images: look at each before you change it.",
    ),
    (
        "Robustness",
        _robustness,
        "The same images, damaged on purpose. What falls steeply here may fail in use, where "
        "light, focus and cameras differ.",
    ),
    (
        "Sample predictions",
        lambda content: _pictures(content, "predictions"),
        "Images of all classes, with the model's answer and how probable it finds it.",
    ),
    (
        "Where it looks",
        lambda content: _titled(content, {"grad_cam": "Grad-CAM", "occlusion": "Occlusion"}),
        "Bright places speak for the answer. Grad-CAM reads them from the last feature maps; "
        "occlusion covers each place and sees how much probability is lost. A model that "
        "looks at the background has learned the wrong thing.",
    ),
    (
        "What its layers see",
        lambda content: _titled(content, {"filters": "Filters", "feature_maps": "Feature maps"}),
        "Filters of the first layer look for edges and colours; patterns like noise mean "
        "little training. Feature maps show what each stage makes of an image: bright is a "
        "strong answer, and later stages are coarser and answer to more complex things.",
    ),
    (
        "What it finds alike",
        lambda content: _pictures(content, "projection", "neighbours"),
        "Near images are alike in the features before the last layer. Classes that mix here "
        "are those it confuses. Only nearness counts, not the axes.",
    ),
    (
        "The model and its config",
        _origin,
        "All that made this model.",
    ),
    (
        "Do it again",
        lambda content: command(content.command) if content.command else Html(""),
        "This command repeats the run.",
    ),
)


def verdict(measured: "Measured", split: str, baseline: float | None = None) -> str:
    """One sentence: accuracy beside that of always giving one answer, the hardest class, and the
    most common confusion.

    split: what the images are ("test"). baseline: accuracy of always answering the most frequent
    class, where that is not the most frequent one of these images.
    """
    accuracy = measured.metrics["accuracy"]
    if accuracy.value is None:
        return f"How good the model is on {split} images is not known: {accuracy.reason}."
    names, support = list(measured.classes), measured.support
    count = int(support.sum())
    result = f"Right on {_percent(accuracy.value)} of {count:,} {split} image{'s' * (count != 1)}"
    low = high = accuracy.value
    if accuracy.low is not None and accuracy.high is not None:
        low, high = accuracy.low, accuracy.high
        result += f" (95 % interval {100 * low:.1f} to {_percent(high)})"
    frequent = _quoted(names[int(support.argmax())])
    if (support > 0).sum() == 1:
        return f"{result}, but all are of one class, {frequent}: a constant answer does as well."
    chance = float(support.max() / count) if baseline is None else baseline
    # In words that the interval allows.
    way = "worse" if high < chance else "better" if low > chance else "not clearly better"
    result += f", which is {way} than always answering {frequent}, the most frequent class "
    result += f"({_percent(chance)}); "
    if not measured.confusions:
        return f"{result}no image is misclassified."
    f1 = {name: metrics["f1"].value or 0.0 for name, metrics in measured.classes.items()}
    occurring = [name for name, images in zip(names, support, strict=True) if images]
    hardest = min(occurring, key=f1.__getitem__)
    worst = measured.confusions[0]
    return (
        f"{result}the hardest class is {_quoted(hardest)} (F1 {_percent(f1[hardest])}), and the "
        f"most common mistake is to take {_quoted(names[worst.label])} for "
        f"{_quoted(names[worst.prediction])} ({worst.count:,} of {support[worst.label]:,})."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _quoted(name: str) -> str:
    return f"“{short_name(name, _NAME)}”"


_SPLIT_NOTES = {
    "validation": Note(
        "These are validation images: they chose the checkpoint, so the numbers flatter it.",
        "For an honest number keep a test split aside, or evaluate other images.",
    ),
    "train": Note(
        "These are the images that the model was trained on: the numbers say what it "
        "remembers, not how good it is on new images.",
        "Evaluate the test split.",
        serious=True,
    ),
}


def split_note(split: str) -> Note | None:
    """A warning where a model is judged by other images than a test's; None where it is not."""
    return _SPLIT_NOTES.get(split)


def unreadable_note(count: int) -> Note | None:
    """About images that were left out; None where there were none."""
    if not count:
        return None
    images = (
        "1 image could not be read and is"
        if count == 1
        else (f"{count:,} images could not be read and are")
    )
    return Note(f"{images} not counted.", "check_data lists them.")
