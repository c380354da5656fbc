"""Assesses a trained model: what it predicts for each example of a split, and the metrics of that.

from jaxcnn.evaluation.assess import assess, find_data
from jaxcnn.inference.trained import load_trained

trained = load_trained("runs/digits")
assessment = assess(trained, find_data(trained))
print(assessment.measured.metrics["accuracy"])
"""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcnn.analysis.calibration import fit_temperature
from jaxcnn.analysis.intervals import Estimate
from jaxcnn.analysis.measure import Measured, calibration_metrics, measure
from jaxcnn.analysis.outcomes import probabilities
from jaxcnn.builders.data import build_dataset
from jaxcnn.config.keys import differences, flatten, load_config, resolve, unflatten
from jaxcnn.core.step import Batch
from jaxcnn.core.views import with_views
from jaxcnn.data.decode import Decoding
from jaxcnn.data.labels import same_name
from jaxcnn.data.pipeline import eval_batches
from jaxcnn.data.source import Dataset, Split
from jaxcnn.errors import UserError, first_few
from jaxcnn.files.rundir import CONFIG
from jaxcnn.inference.passes import predict
from jaxcnn.inference.trained import Trained, keep_temperature, predict_step_of
from jaxcnn.runtime.mesh import jit_parallel

logger = logging.getLogger(__name__)

SPLITS = ("train", "validation", "test", "all")


class EvaluationData(NamedTuple):
    """The data a model is assessed on.

    split: a role, or "all". parts: the examples, with the labels of the model's classes.
    validation: what a temperature may be fitted on; None where these are other data than the
      model was trained with, or where they are assessed themselves.
    own: whether these are the data the model was trained with.
    bad: names of images that cannot be decoded. decoding: of the others.
    """

    split: str
    parts: tuple[Split, ...]
    validation: Split | None
    own: bool
    bad: tuple[str, ...] = ()
    decoding: Decoding = Decoding()


class Predictions(NamedTuple):
    """A model's predictions on the data it is assessed on: logits float32[N, K].

    views: of test-time augmentation, see `jaxcnn.core.views`, if that is asked for.
    validation: of the validation examples, if there are some to fit a temperature on.
    """

    logits: np.ndarray
    views: np.ndarray | None = None
    validation: np.ndarray | None = None


class Assessment(NamedTuple):
    """A model's predictions on some data, and their metrics.

    label: int32[N]. logits: float32[N, K], not divided by `temperature`; probabilities:
      float32[N, K], of logits that are.
    paths: of the examples' files, groups: what must not be split, or None where there are none.
    rows: int64[N], each example's number in its source.
    measured: with the temperature, which is 1 unless the model has one.
    fitted: a temperature that suits the validation data; None without those.
    calibration: metrics of the probabilities by temperature: 1, and the model's own or else the
      fitted one.
    views: with test-time augmentation, if asked for.
    """

    trained: Trained
    data: EvaluationData
    label: np.ndarray
    logits: np.ndarray
    probabilities: np.ndarray
    rows: np.ndarray
    paths: list[str] | None
    groups: list[str] | None
    temperature: float
    measured: Measured
    fitted: float | None
    calibration: dict[float, dict[str, Estimate]]
    views: Measured | None

    def __repr__(self) -> str:
        return f"Assessment({self.trained!r}, {self.data.split!r}, {len(self.label)} images)"


def find_data(trained: Trained, split: str | None = None) -> EvaluationData:
    """The data that `trained.config` names, as the model must see them; raises UserError.

    split: "train", "validation", "test" or "all"; None: test, else validation, else train, of the
      data of the training; of other data their test if they bring one along, else all.

    >>> import jaxcnn
    >>> jaxcnn.find_data(jaxcnn.load_trained("runs/digits")).split
    'test'
    """
    if split is not None and split not in SPLITS:
        raise UserError(f"--split={split}: expected one of {', '.join(SPLITS)}")
    config = _as_trained(trained)
    whole = _changed(config, {"data.holdout": 0.0, "data.test_holdout": 0.0})
    if split == "all":
        return select_data(trained, build_dataset(whole, facts=trained.facts), "all", own=False)
    try:
        dataset = build_dataset(config, facts=trained.facts)
    except UserError:
        if split is not None or config is trained.config:
            raise
        dataset = build_dataset(whole, facts=trained.facts)  # other data, too few to hold some out
    own = dataset.identity == trained.facts["identity"]
    if split is None and own:
        split = next(role for role in ("test", "validation", "train") if role in dataset.splits)
    elif split is None:
        dataset = build_dataset(whole, facts=trained.facts)
        split = "test" if "test" in dataset.splits else "all"
    if split != "all" and split not in dataset.splits:
        raise UserError(
            f"--split={split}: the data have none; they have {', '.join(dataset.splits)} "
            "(--split=all takes every image)"
        )
    return select_data(trained, dataset, split, own)


def select_data(trained: Trained, dataset: Dataset, split: str, own: bool = True) -> EvaluationData:
    """A split of a data set whose classes are the model's; UserError if they are not."""
    if dataset.image_shape != trained.image_shape:
        was, now = ("x".join(map(str, s)) for s in (trained.image_shape, dataset.image_shape))
        raise UserError(
            f"config.data: images have {now} pixels, the model was trained on {was}; give "
            "--config.data.image_size"
        )
    relabel = _relabelling(trained, dataset.class_names)
    splits = dataset.splits if split == "all" else {split: dataset.splits[split]}
    validation = dataset.splits.get("validation") if own and split == "test" else None
    return EvaluationData(
        split,
        tuple(map(relabel, splits.values())),
        None if validation is None else relabel(validation),
        own,
        tuple(map(str, dataset.bad)),
        dataset.decoding,
    )


def predict_examples(trained: Trained, data: EvaluationData) -> Predictions:
    """Predicts every example once, on the devices of this process."""
    views, validation = trained.config.report.tta, data.validation
    step = predict_step_of(trained)
    run = on_devices(trained, step)
    run_views = on_devices(trained, with_views(step, views)) if views else run
    outputs = [run_views(part) for part in data.parts]
    return Predictions(
        np.concatenate([one["logits"] for one in outputs]),
        np.concatenate([one["views"] for one in outputs]) if views else None,
        None if validation is None else run(validation)["logits"],
    )


def assess(
    trained: Trained, data: EvaluationData, predictions: Predictions | None = None
) -> Assessment:
    """Measures a model's predictions on every example; raises UserError for logits that are no
    numbers.

    predictions: the result of `predict_examples`, where it is known already.

    >>> import jaxcnn
    >>> trained = jaxcnn.load_trained("runs/digits")
    >>> assessment = jaxcnn.assess(trained, jaxcnn.find_data(trained))
    >>> assessment.measured.metrics["accuracy"]
    Estimate(value=..., low=..., high=..., reason=None)
    """
    config = trained.config
    predictions = predict_examples(trained, data) if predictions is None else predictions
    logits = predictions.logits
    label = np.concatenate([part.label for part in data.parts])
    _check_finite(logits, trained)
    fitted = None
    if data.validation is not None and (held_out := predictions.validation) is not None:
        known = data.validation.label
        # Where all predictions are right the smallest temperature would be the best.
        fitted = fit_temperature(known, held_out) if (held_out.argmax(-1) != known).any() else None
    if config.report.temperature:
        trained = _with_temperature(trained, data, fitted)
    temperature = trained.temperature or 1.0
    groups = _joined([part.groups for part in data.parts])

    def numbers(logits: np.ndarray) -> Measured:
        return measure(
            label,
            logits,
            trained.class_names,
            groups=groups,
            temperature=temperature,
            resamples=config.report.resamples,
        )

    return Assessment(
        trained=trained,
        data=data,
        label=label,
        logits=logits,
        probabilities=probabilities(logits, temperature),
        rows=np.concatenate([part.rows for part in data.parts]),
        paths=_joined([part.paths for part in data.parts]),
        groups=groups,
        temperature=temperature,
        measured=numbers(logits),
        fitted=fitted,
        calibration={
            one: calibration_metrics(label, logits, one)
            for one in (1.0, trained.temperature or fitted)
            if one is not None
        },
        views=None if predictions.views is None else numbers(predictions.views),
    )


def _joined(names: Sequence[Sequence[str] | None]) -> list[str] | None:
    """The names of all parts; None where a part has none."""
    known = [part for part in names if part is not None]
    return list(chain(*known)) if len(known) == len(names) else None


def _with_temperature(trained: Trained, data: EvaluationData, fitted: float | None) -> Trained:
    if fitted is not None:
        return keep_temperature(trained, fitted)
    logger.warning(
        "no temperature fitted: %s",
        "these are not the run's own test images, with validation beside them"
        if data.validation is None
        else "the model is right on all validation images, which then tell none",
    )
    return trained


def parts_at(parts: Sequence[Split], positions: np.ndarray) -> list[Split]:
    """The examples of all parts at `positions`, int64[n] in increasing order, part by part."""
    starts = np.cumsum([0, *map(len, parts)])
    chosen = np.split(positions, np.searchsorted(positions, starts[1:-1]))
    return [
        dataclasses.replace(part, rows=part.rows[own - start])
        for part, own, start in zip(parts, chosen, starts[:-1], strict=True)
        if len(own)
    ]


def spread_over(count: int, most: int) -> np.ndarray:
    """At most so many of the positions 0 to count - 1, from all over, int64[n]."""
    return np.unique(np.linspace(0, count - 1, min(count, most), dtype=np.int64))


def on_devices(
    trained: Trained, step: Callable[[Any, Batch], Batch]
) -> Callable[..., dict[str, np.ndarray]]:
    """Function that runs a step over a split on all devices: `run(split)` as `step(state, batch)`,
    `run(split, *numbers)` as `step((state, *numbers), batch)`, compiled once for all numbers.
    """
    parallel = jit_parallel(jax.local_devices())
    compiled = parallel.transform(step, donate=False)
    state = parallel.place_state(trained.state)
    # The config's, made larger where the devices do not divide it.
    batch_size = -(-trained.config.batch_size // parallel.num_devices) * parallel.num_devices

    def run(split: Split, *numbers: jax.Array) -> dict[str, np.ndarray]:
        batches = map(parallel.place_batch, eval_batches(split, batch_size))
        arguments = (state, *numbers) if numbers else state
        outputs = predict(compiled, arguments, batches, len(split), parallel)
        return {name: value[0] for name, value in outputs.items()}

    return run


def _as_trained(trained: Trained) -> ConfigDict:
    """The config; for other data than those of the training, with images of the model's size."""
    original = load_config(trained.workdir / CONFIG)
    if not any(key.startswith("data.") for key in differences(original, trained.config)):
        return trained.config
    height, width, channels = trained.image_shape
    values: dict[str, Any] = {"data.channels": channels, "data.num_classes": None}
    if height == width and trained.config.data.image_size is None:
        values["data.image_size"] = height
    return _changed(trained.config, values)


def _changed(config: ConfigDict, values: dict[str, Any]) -> ConfigDict:
    return resolve(unflatten(flatten(config) | values))


def _relabelling(trained: Trained, names: tuple[str, ...]) -> Callable[[Split], Split]:
    """A function that gives the examples of classes `names` the model's labels."""
    known = {name: k for k, name in enumerate(trained.class_names)}
    same = {same_name(name): k for name, k in known.items()}
    known = {name: same[same_name(name)] for name in names if same_name(name) in same} | known
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UserError(
            f"config.data: class {unknown[0]!r}"
            + (f" and {len(unknown) - 1} more are" if len(unknown) > 1 else " is")
            + f" unknown to the model, whose classes are {first_few(trained.class_names)}"
        )
    new = np.array([known[name] for name in names], np.int32)

    def relabel(split: Split) -> Split:
        label = new[split.images.label] if len(new) else split.images.label
        return dataclasses.replace(split, images=split.images._replace(label=label))

    return relabel


def _check_finite(logits: np.ndarray, trained: Trained) -> None:
    broken = int((~np.isfinite(logits)).any(-1).sum())
    if broken:
        raise UserError(
            f"{trained.workdir}: the model of step {trained.step} gives no numbers (NaN or "
            f"infinity) for {broken:,} of {len(logits):,} images; try --config.dtype=float32 or "
            "another --checkpoint"
        )
