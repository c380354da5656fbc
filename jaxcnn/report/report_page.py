"""The page about a trained model: how good it is, where it fails, what it looks at."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from jaxcnn.report.galleries import Gallery, gallery_html
from jaxcnn.report.page import (
    Html,
    Section,
    chart,
    command,
    details,
    facts,
    heading,
    join,
    note,
    page,
    paragraph,
    table,
)
from jaxcnn.report.style import Chart
from jaxcnn.report.tables import (
    ANSWERS,
    MOST,
    PROBABILITIES,
    classes_table,
    compared_table,
    confusions_table,
    estimates_table,
    folded,
    groups_table,
    metrics_table,
)
from jaxcnn.report.verdict import Note

if TYPE_CHECKING:
    from jaxcnn.analysis.intervals import Estimate
    from jaxcnn.analysis.measure import Measured


class Report(NamedTuple):
    """What a report holds. What is empty has no section.

    verdict: see `jaxcnn.report.verdict`. split: what the images are ("test").
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
    calibration_told: str = ""
    robustness: Mapping[str, "Estimate"] = {}
    parameters: Sequence[tuple[str, str, int]] = ()
    config: Mapping[str, object] = {}
    environment: Mapping[str, object] = {}
    command: str = ""


def report_page(content: Report) -> str:
    """The HTML of one file without anything from elsewhere."""
    lead = join(
        [
            # A percent sign stays with its number.
            paragraph(content.verdict.replace(" %", "\u00a0%"), kind="verdict"),
            facts(content.facts) if content.facts else "",
            *(note("Mind:", n.what, n.advice, n.serious) for n in content.notes),
        ]
    )
    sections = [*_numbers(content), *_failures(content), *_insides(content), *_origin(content)]
    return page(content.title, [s for s in sections if s.body], lead, "Made by jaxcnn.")


def _numbers(content: Report) -> list[Section]:
    measured = content.measured
    several = {"plain": measured.metrics}
    if content.augmented is not None:
        several["with test-time augmentation"] = content.augmented.metrics
    return [
        Section(
            "The numbers",
            metrics_table(measured),
            f"Measured on {int(measured.support.sum()):,} {content.split} images. With other "
            "images of the same kind a number would lie in its interval in 19 cases of 20.",
        ),
        Section(
            "Training",
            _chart(content, "curves"),
            "Loss should fall and accuracy rise. Where validation turns back while train goes on, "
            "the model begins to learn its images by heart. Train numbers are taken while "
            "learning, on augmented images.",
        ),
        Section(
            "Test-time augmentation",
            compared_table(several, ANSWERS) if len(several) > 1 else Html(""),
            "Each image is seen in several versions, and the probabilities are averaged: often a "
            "little better, and slower by the number of versions.",
        ),
    ]


def _failures(content: Report) -> list[Section]:
    measured = content.measured
    return [
        Section(
            "What is taken for what",
            join([_chart(content, "confusion_matrix"), confusions_table(measured)]),
            "A row is a label, a column a prediction. Right answers are on the diagonal; "
            "everything beside it is a mistake, the stronger its colour the more "
            "frequent for its row.",
        ),
        Section(
            "Misclassified images",
            _gallery(content, "misclassified"),
            "The mistakes of which the model was most sure come first: they show what it does not "
            "understand, and often labels that are wrong.",
        ),
        Section(
            "Classes",
            join([_chart(content, "classes"), classes_table(measured)]),
            "Precision: of what is called this class, how much is. Recall: of what is this class, "
            "how much is called so. F1 joins both. Lines are 95 % intervals: with few images of a "
            "class they are long.",
        ),
        Section(
            "Groups",
            groups_table(measured) if measured.groups else Html(""),
            "The same numbers for each group of images by itself. A group far below the others is "
            "one that the model should not be trusted with.",
        ),
        Section(
            "Can its probabilities be believed?",
            _calibration(content),
            "Of predictions made with 80 % confidence, 80 % should be right: then bars end at "
            "their marks. Bars below their marks: the model is too sure of itself.",
        ),
        Section(
            "Likely label errors",
            _label_errors(content),
            "Images on which the model firmly disagrees with the label. Some labels here are "
            "mistakes, others are hard images: look at each before you change it.",
        ),
        Section(
            "Robustness",
            _robustness(content),
            "The same images, damaged on purpose. What falls steeply here may fail in use, where "
            "light, focus and cameras differ.",
        ),
    ]


def _insides(content: Report) -> list[Section]:
    return [
        Section(
            "Sample predictions",
            _gallery(content, "predictions"),
            "Images of all classes, with the model's answer and how probable it finds it.",
        ),
        Section(
            "Where it looks",
            _parts(content, {"grad_cam": "Grad-CAM", "occlusion": "Occlusion"}),
            "Bright places speak for the answer. Grad-CAM reads them from the last feature maps; "
            "occlusion covers each place and sees how much probability is lost. A model that "
            "looks at the background has learned the wrong thing.",
        ),
        Section(
            "What its layers see",
            _parts(content, {"filters": "Filters", "feature_maps": "Feature maps"}),
            "Filters of the first layer look for edges and colours; patterns like noise mean "
            "little training. Feature maps show what each stage makes of an image: bright is a "
            "strong answer, and later stages are coarser and answer to more complex things.",
        ),
        Section(
            "What it finds alike",
            join([_chart(content, "projection"), _gallery(content, "neighbours")]),
            "Near images are alike in the features before the last layer. Classes that mix here "
            "are those it confuses. Only nearness counts, not the axes.",
        ),
    ]


def _origin(content: Report) -> list[Section]:
    total = sum(size for _, _, size in content.parameters)
    arrays = f"{len(content.parameters):,} arrays, {total:,} parameters"
    return [
        Section(
            "The model and its config",
            join(
                [
                    _folded_table(arrays, ("array", "shape", "size"), content.parameters),
                    _folded_table("Config", ("key", "value"), list(content.config.items())),
                    _folded_table(
                        "Environment", ("what", "value"), list(content.environment.items())
                    ),
                ]
            ),
            "All that made this model.",
        ),
        Section(
            "Do it again",
            command(content.command) if content.command else Html(""),
            "This command repeats the run.",
        ),
    ]


def _folded_table(
    title: str, header: Sequence[str], rows: Sequence[Sequence[object]]
) -> Html | str:
    return details(title, table(header, rows[:MOST])) if rows else ""


def _calibration(content: Report) -> Html:
    parts = [_chart(content, "reliability")]
    if len(content.calibration) > 1:
        parts.append(compared_table(content.calibration, PROBABILITIES))
        parts.append(
            paragraph(
                "Dividing the logits by a temperature fitted on held-out images changes how sure "
                f"the model is, never its answer. {content.calibration_told}"
            )
        )
    return join(parts)


def _label_errors(content: Report) -> Html:
    header = ("image", "label", "perhaps", "margin")
    listed = folded(header, content.suspects, "images") if content.suspects else ""
    return join([_gallery(content, "label_errors"), listed])


def _robustness(content: Report) -> Html:
    found = estimates_table(content.robustness, "images") if content.robustness else ""
    return join([_chart(content, "robustness"), found])


def _parts(content: Report, titles: Mapping[str, str]) -> Html:
    """Galleries under headings of their own."""
    shown = ((title, _gallery(content, name)) for name, title in titles.items())
    return join(join([heading(title), body]) for title, body in shown if body)


def _chart(content: Report, name: str) -> Html:
    return chart(*content.charts[name]) if name in content.charts else Html("")


def _gallery(content: Report, name: str) -> Html:
    return gallery_html(content.galleries[name]) if name in content.galleries else Html("")
