"""Compares runs: their reports side by side, and whether their differences are luck."""

import csv
import io
import json
import logging
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.analysis.intervals import Estimate
from jaxcnn.analysis.paired import Comparison, compare_paired, holm
from jaxcnn.config.keys import differences, flatten
from jaxcnn.errors import UserError
from jaxcnn.evaluation.report import history
from jaxcnn.files.folders import write_files
from jaxcnn.files.paths import absolute, as_path
from jaxcnn.files.rundir import REPORT, read_json
from jaxcnn.inference.trained import run_config
from jaxcnn.report.charts import compared_curves
from jaxcnn.report.compare_page import Compared, Pair, compare_page, compare_text
from jaxcnn.report.style import in_both_themes

logger = logging.getLogger(__name__)

# A probability that was written as 0 still has a logarithm.
_LEAST = 1e-30
# What a comparison takes from a `metrics.json` beside the metrics.
_FACTS = ("split", "num_examples", "num_classes", "checkpoint_step")


class Answers(NamedTuple):
    """A model's predictions on its test images, in their order.

    name: N paths or numbers. label, prediction: N class names. loss: float64[N], in nats.
    """

    name: list[str]
    label: np.ndarray
    prediction: np.ndarray
    loss: np.ndarray


def compare_runs(runs: Sequence[str | Path], output: str | Path) -> str:
    """Writes compare.html, compare.json and curves.png; returns a table for a terminal.

    Raises UserError for a folder without a run or a report.

    >>> import jaxcnn
    >>> "accuracy" in jaxcnn.compare_runs(["runs/digits", "runs/again"], "comparison")
    True
    """
    paths, output = [as_path(run) for run in runs], as_path(output)
    folders = dict(zip(short_names(paths), paths, strict=True))
    metrics = {name: read_metrics(run) for name, run in folders.items()}
    pairs, different = _pairs({name: read_answers(run) for name, run in folders.items()})
    histories = {name: history(run) for name, run in folders.items()}
    content = Compared(
        metrics={
            name: {metric: Estimate(**value) for metric, value in own["metrics"].items()}
            for name, own in metrics.items()
        },
        facts={name: {key: own[key] for key in _FACTS} for name, own in metrics.items()},
        pairs=pairs,
        different=different,
        config=_configs(folders),
        curves=in_both_themes(partial(compared_curves, histories)),
    )
    files: dict[str, bytes | None] = {
        "compare.html": compare_page(content).encode(),
        "compare.json": json.dumps(_to_json(content), indent=2).encode() + b"\n",
        "curves.png": content.curves.light,
    }
    write_files(output, files, "output")
    return compare_text(content)


def short_names(runs: Sequence[Path]) -> list[str]:
    """Names for runs: the ends of their paths, as short as differ; UserError for the same twice."""
    paths = [absolute(run).parts for run in runs]
    for first, second in combinations(range(len(runs)), 2):
        if paths[first] == paths[second]:
            raise UserError(f"{runs[first]}: given twice; give another run to compare it with")
    length = 1
    while len({path[-length:] for path in paths}) < len(paths):
        length += 1
    return ["/".join(path[-length:]) for path in paths]


def read_metrics(run: Path) -> dict[str, Any]:
    """A run's `report/metrics.json`; UserError if there is none."""
    run_config(run)
    metrics = read_json(run / REPORT / "metrics.json")
    if metrics is None:
        raise UserError(f"{run}: has no report; make one with jaxcnn evaluate --workdir={run}")
    return metrics


def read_answers(run: Path) -> Answers:
    """A run's `report/predictions.csv`; UserError if it is missing or none of ours."""
    path = run / REPORT / "predictions.csv"
    try:
        text = path.read_bytes().decode("utf-8", "surrogateescape")
        rows = csv.reader(io.StringIO(text, newline=""))
        header = next(rows)
        place = {name: number for number, name in enumerate(header)}
        name, label, prediction, loss = [], [], [], []
        for row in rows:
            own = place["p_label" if "p_label" in place else f"p_{row[1]}"]
            name.append(row[0])
            label.append(row[1])
            prediction.append(row[2])
            loss.append(-np.log(max(float(row[own]), _LEAST)))
    except (OSError, ValueError, IndexError, KeyError, StopIteration) as error:
        raise UserError(
            f"{path}: cannot be read ({error}); make it again with jaxcnn evaluate --workdir={run}"
        ) from error
    return Answers(name, np.array(label), np.array(prediction), np.array(loss))


def _same_examples(one: Answers, other: Answers) -> np.ndarray | None:
    """Positions in `other` of the examples of `one`, int64[N]; None if those are not the same."""
    place = {name: i for i, name in enumerate(other.name)}
    if len(place) != len(other.name) or place.keys() != set(one.name):
        return None
    order = np.array([place[name] for name in one.name], np.int64)
    return order if (other.label[order] == one.label).all() else None


def _pairs(answers: Mapping[str, Answers]) -> tuple[list[Pair], list[tuple[str, str]]]:
    """Every two runs with the same test images, p-values adjusted for how many there are; and
    every two with different ones.
    """
    compared: list[tuple[str, str, Comparison]] = []
    different: list[tuple[str, str]] = []
    for first, second in combinations(answers, 2):
        a, b = answers[first], answers[second]
        if (order := _same_examples(a, b)) is None:
            different.append((first, second))
            continue
        paired = compare_paired(a.label, a.prediction, b.prediction[order], a.loss, b.loss[order])
        compared.append((first, second, paired))
    adjusted = holm([paired.p_value for *_, paired in compared])
    return [Pair(*one, p) for one, p in zip(compared, adjusted, strict=True)], different


def _configs(runs: Mapping[str, Path]) -> dict[str, list[str]]:
    """Keys in which the configs differ, with the values of all runs; "" where a run has none."""
    configs = {name: run_config(run) for name, run in runs.items()}
    first = next(iter(configs.values()))
    keys = sorted({key for config in configs.values() for key in differences(first, config)})
    flat = [flatten(config) for config in configs.values()]
    return {
        key: ["" if config.get(key) is None else str(config[key]) for config in flat]
        for key in keys
        if not key.startswith(("report.", "data.cache_"))
    }


def _to_json(content: Compared) -> dict[str, Any]:
    """The content of `compare.json`."""
    return {
        "runs": {
            name: {**content.facts[name], "metrics": {k: v.to_json() for k, v in own.items()}}
            for name, own in content.metrics.items()
        },
        "pairs": [
            {"a": pair.first, "b": pair.second, "p_value_holm": pair.p_value}
            | pair.comparison.to_json()
            for pair in content.pairs
        ],
        "tested_on_different_images": [list(pair) for pair in content.different],
        "config": content.config,
    }
