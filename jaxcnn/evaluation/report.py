"""The folder about a trained model: one page, its pictures, and all numbers in files."""

import io
import json
import logging
import math
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax

from jaxcnn.analysis.counts import cluster_order
from jaxcnn.analysis.outcomes import Suspect
from jaxcnn.analysis.tables import metrics_text, predictions_csv
from jaxcnn.config.keys import flatten
from jaxcnn.core.explain import has_features
from jaxcnn.evaluation.assess import Assessment, EvaluationData
from jaxcnn.evaluation.illustrate import illustrate, name_of, projection, suspects
from jaxcnn.evaluation.robustness import Robustness, assess_robustness
from jaxcnn.files.folders import write_files
from jaxcnn.files.paths import as_path
from jaxcnn.files.rundir import ENVIRONMENT, REPORT_PAGE, environment, metric_lines, read_json
from jaxcnn.inference.trained import Trained
from jaxcnn.report import charts, class_charts
from jaxcnn.report.galleries import Gallery, gallery_png
from jaxcnn.report.page import Note
from jaxcnn.report.report_page import Report, report_page, split_note, unreadable_note, verdict
from jaxcnn.report.style import Chart, Theme, in_both_themes

logger = logging.getLogger(__name__)

# Classes in the order of the data; more are put in an order in which confused ones are neighbours.
_UNSORTED = 20


def default_output(trained: Trained, data: EvaluationData) -> Path:
    """The default folder of a report: training's own is for the data that training reports on."""
    if not data.own:
        name = Path(str(trained.config.data.get("dir") or trained.config.data.source)).stem
        return trained.workdir / f"report-{name}"
    usual = next(r for r in ("test", "validation", "train") if r in trained.facts["splits"])
    split = "" if data.split == usual else f"-{data.split}"
    return trained.workdir / f"report{split}"


def write_report(assessment: Assessment, output: str | Path) -> tuple[str, dict[str, bytes]]:
    """Makes the pictures and writes everything into `output`, whole or not at all.

    Returns (the numbers as a text for a terminal, the pictures as PNG files by name).

    >>> import jaxcnn
    >>> trained = jaxcnn.load_trained("runs/digits")
    >>> text, pictures = jaxcnn.write_report(
    ...     jaxcnn.assess(trained, jaxcnn.find_data(trained, "validation")), "report-of-mine"
    ... )
    >>> "misclassified" in pictures
    True
    """
    output, clock = as_path(output), time.perf_counter()
    robustness = assess_robustness(assessment)
    doubtful = suspects(assessment)
    drawn, galleries = draw_charts(assessment, robustness), illustrate(assessment, doubtful)
    pictures = {name: one.light for name, one in drawn.items()}
    pictures |= {name: gallery_png(one) for name, one in galleries.items()}
    table = io.StringIO(newline="")
    write_predictions(assessment, table)
    files: dict[str, bytes | None] = {
        "metrics.json": _json(metrics(assessment, robustness)),
        "predictions.csv": table.getvalue().encode("utf-8", "surrogateescape"),
        REPORT_PAGE: report_page(
            describe(assessment, robustness, doubtful, drawn, galleries)
        ).encode(),
        **{f"{name}.png": content for name, content in pictures.items()},
    }
    write_files(output, files, "output")
    logger.info("report: %s (%.1f s)", output / REPORT_PAGE, time.perf_counter() - clock)
    views = {} if assessment.views is None else assessment.views.metrics
    return metrics_text(assessment.measured, views), pictures


def _json(content: dict[str, Any]) -> bytes:
    """JSON to read; of many classes, whose confusion matrix has a million lines, without breaks."""
    return json.dumps(content, indent=2 if content["num_classes"] <= 100 else None).encode() + b"\n"


def metrics(assessment: Assessment, robustness: Robustness | None = None) -> dict[str, Any]:
    """The content of `metrics.json`: `Measured.to_json`, and the checkpoint and data it is about;
    `views`: the metrics with test-time augmentation; `calibration`: metrics by temperature.
    """
    trained = assessment.trained
    content: dict[str, Any] = {
        "split": assessment.data.split,
        "checkpoint_step": trained.step,
        "data": "the run's own" if assessment.data.own else "others",
    }
    content |= assessment.measured.to_json()
    content["calibration"] = {
        str(temperature): {name: one.to_json() for name, one in numbers.items()}
        for temperature, numbers in assessment.calibration.items()
    }
    content["fitted_temperature"] = assessment.fitted
    if assessment.views is not None:
        content["views"] = {
            "tta": list(trained.config.report.tta),
            "metrics": {name: one.to_json() for name, one in assessment.views.metrics.items()},
        }
    if robustness is not None:
        content["robustness"] = robustness.to_json()
    return content


def write_predictions(assessment: Assessment, file: Any) -> None:
    """Writes `predictions.csv` to a text file."""
    complete = predictions_csv(
        file,
        assessment.rows.tolist() if assessment.paths is None else assessment.paths,
        assessment.label,
        assessment.logits.argmax(-1),
        assessment.probabilities,
        assessment.trained.class_names,
        first_column="index" if assessment.paths is None else "path",
        groups=assessment.groups,
    )
    if not complete:
        logger.info("predictions.csv: of so many classes, p_label and p_prediction only")


def draw_charts(assessment: Assessment, robustness: Robustness | None) -> dict[str, Chart]:
    """Charts by name."""
    trained, measured = assessment.trained, assessment.measured
    names = trained.class_names
    order = cluster_order(measured.confusion) if len(names) > _UNSORTED else None
    error = measured.metrics["expected_calibration_error"].value
    temperature = assessment.temperature if assessment.temperature != 1 else None
    draw: dict[str, Callable[[Theme], Any]] = {
        "confusion_matrix": partial(class_charts.confusion_chart, measured.confusion, names, order),
        "classes": partial(class_charts.class_bars, measured),
        "reliability": partial(charts.reliability_chart, measured.reliability, error, temperature),
    }
    if lines := history(trained.workdir):
        draw["curves"] = lambda theme: charts.curves(lines, theme, trained.step)
    if robustness is not None and robustness.corruptions:
        clean = robustness.clean and robustness.clean.value
        draw["robustness"] = partial(class_charts.robustness_chart, robustness.corruptions, clean)
    if (name := trained.config.report.projection) is not None and has_features(trained.model):
        points, label = projection(assessment, name)
        title = {"pca": "PCA", "tsne": "t-SNE"}[name] + " of the features before the last layer"
        draw["projection"] = lambda theme: charts.projection_chart(
            points, label, names, theme, title
        )
    return {name: in_both_themes(one) for name, one in draw.items()}


def history(workdir: str | Path) -> list[dict[str, Any]]:
    """The lines of a run's `metrics.jsonl`; a last one that is not whole is left out.

    >>> import jaxcnn
    >>> sorted({line["split"] for line in jaxcnn.history("runs/digits")})
    ['train', 'validation']
    """
    return metric_lines(as_path(workdir))


def describe(
    assessment: Assessment,
    robustness: Robustness | None,
    doubtful: Sequence[Suspect],
    drawn: Mapping[str, Chart],
    galleries: Mapping[str, Gallery],
) -> Report:
    """The content of the page."""
    trained, data, measured = assessment.trained, assessment.data, assessment.measured
    parameters = _parameters(trained)
    split = "" if data.split == "all" else f"{data.split} "
    notes = [split_note(data.split) if data.own else None]
    notes.append(unreadable_note(len(data.bad)))
    if len(assessment.label) < 100:
        notes.append(Note("Few images: intervals are wide.", "Collect more to be sure."))
    config = flatten(trained.config)
    return Report(
        title=f"{config['model.name']} on {_data_name(trained)}",
        verdict=verdict(measured, split.strip() or "other"),
        measured=measured,
        split=split.strip() or "other",
        facts={
            "model": f"{config['model.name']}, {sum(p[2] for p in parameters):,} parameters, "
            f"{'x'.join(map(str, trained.image_shape))} pixels, {len(trained.class_names):,} "
            "classes",
            "data": f"{_data_name(trained)}: {len(assessment.label):,} {split}images",
            "checkpoint": f"step {trained.step:,}",
            "run": str(trained.workdir),
        },
        notes=[one for one in notes if one is not None],
        charts=drawn,
        galleries=galleries,
        suspects=[
            (
                name_of(assessment, one.position),
                trained.class_names[one.label],
                trained.class_names[one.suggestion],
                one.margin,
            )
            for one in doubtful
        ],
        augmented=assessment.views,
        calibration={
            "plain" if temperature == 1 else f"temperature {temperature:.3g}": numbers
            for temperature, numbers in assessment.calibration.items()
        },
        calibration_note=_calibration_note(assessment),
        robustness={} if robustness is None else robustness.estimates(),
        parameters=parameters,
        config={key: str(value) for key, value in config.items() if value is not None},
        environment=_environment(trained),
        command=_command(trained),
    )


def _calibration_note(assessment: Assessment) -> str:
    if assessment.temperature != 1:
        return "This one is kept with the model: all numbers here are with it."
    return (
        "To keep this one with the model, for all that use it: jaxcnn evaluate "
        f"--workdir={shlex.quote(str(assessment.trained.workdir))} --config.report.temperature=True"
    )


def _parameters(trained: Trained) -> list[tuple[str, str, int]]:
    """Name, shape and size of each array."""
    name = partial(jax.tree_util.keystr, simple=True, separator="/")
    return [
        (name(path), "x".join(map(str, leaf.shape)), math.prod(leaf.shape))
        for path, leaf in jax.tree_util.tree_leaves_with_path(trained.variables["params"])
    ]


def _data_name(trained: Trained) -> str:
    data = trained.config.data
    name = data.get("name") or data.get("dir")
    return Path(str(name)).name if name else str(data.source)


def _environment(trained: Trained) -> dict[str, str]:
    content = read_json(trained.workdir / ENVIRONMENT) or environment()
    flat = {"python": content["python"], "platform": content["platform"]}
    flat |= {name: one for name, one in content["versions"].items() if one}
    flat |= {"devices": ", ".join(content["devices"]), "commit": content["git_commit"] or ""}
    return {name: str(value) for name, value in flat.items() if value}


def _command(trained: Trained) -> str:
    """The command line that trained the model; "" where that was no command."""
    words = (read_json(trained.workdir / ENVIRONMENT) or {}).get("command", [])
    if words[1:4] == ["-m", "jaxcnn", "train"]:
        return shlex.join(["jaxcnn", "train", *words[4:]])
    if len(words) > 1 and Path(words[1]).parts[-2:] == ("jaxcnn", "main.py"):  # of 0.1
        return shlex.join(["jaxcnn", "train", *words[2:]])
    return ""
