"""All numbers of an evaluation, out of labels and logits."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.analysis.calibration import Reliability, expected_calibration_error, reliability
from jaxcnn.analysis.counts import (
    Confusion,
    class_estimates,
    confusion_counts,
    count_estimates,
    worst_confusions,
)
from jaxcnn.analysis.intervals import (
    LEVEL,
    NO_EXAMPLES,
    SAME,
    Estimate,
    estimate,
    mean_estimates,
    percentiles,
    resample_margins,
    resample_weights,
    share_estimate,
)
from jaxcnn.analysis.outcomes import Outcomes, class_columns, not_finite, outcomes
from jaxcnn.analysis.ranking import Ranking, class_means, one_vs_rest
from jaxcnn.core.metrics import margins, summarize

# The largest problem whose rankings and calibration are resampled.
_EXAMPLES, _CLASSES = 10_000, 20
_TOO_LARGE = f"no interval above {_EXAMPLES:,} examples or {_CLASSES} classes"
_GROUP_METRICS = ("accuracy", "balanced_accuracy", "f1_macro")
# The metrics that a temperature changes.
CALIBRATION = ("loss", "brier", "expected_calibration_error")
_METHOD = (
    "percentiles of multinomial resamples of the confusion matrix or of the examples, widened to "
    "hold the value; Wilson's score interval for shares of 0 or 1; a normal interval for means "
    "over more than 100,000 examples"
)


class Measured(NamedTuple):
    """Metrics of a model on some examples, with 95 % intervals or the reason why there are none."""

    metrics: dict[str, Estimate]  # in the order to show
    classes: dict[str, dict[str, Estimate]]  # in the order of the classes
    support: np.ndarray  # int64[K]: examples of each class
    confusion: np.ndarray  # int64[K, K]; rows: label, columns: prediction
    confusions: list[Confusion]  # the largest counts off the diagonal
    reliability: Reliability
    groups: dict[str, dict[str, Estimate]]  # {} where there are no groups
    group_sizes: dict[str, int]
    temperature: float
    resamples: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """The content of `report/metrics.json`. All numbers are plain and finite, or None.

        num_examples, num_classes: ints. temperature: what the logits were divided by.
        intervals: {"level": 0.95, "method", "resamples", "seed"}.
        metrics: {name: estimate}; an estimate is {"value": float | None} and, where they exist,
          "low" and "high" (its interval) or "reason" (why the value or the interval is missing).
          Names: accuracy, top5_accuracy (above 5 classes), loss (nats), balanced_accuracy,
          precision_, recall_ and f1_ with macro, micro and weighted, cohen_kappa, matthews,
          roc_auc_ and average_precision_ with macro and weighted (over the classes where they are
          defined), expected_calibration_error (15 bins), brier (0 to 2). Shares are of 1.
        classes: {class name: {"support": int, "precision", "recall", "f1", "roc_auc",
          "average_precision": estimate}}.
        confusion: K lists of K ints; rows: label, columns: prediction.
        confusions: [{"label", "prediction": class names, "count", "share" (of the label's)}].
        reliability: {"count": 15 ints, "confidence", "accuracy": 15 floats or None}.
        groups: {group: {"num_examples": int, "accuracy", "balanced_accuracy", "f1_macro", "loss":
          estimate}}.
        """
        names = list(self.classes)
        return {
            "num_examples": int(self.support.sum()),
            "num_classes": len(names),
            "temperature": self.temperature,
            "intervals": {
                "level": LEVEL,
                "method": _METHOD,
                "resamples": self.resamples,
                "seed": self.seed,
            },
            "metrics": _plain(self.metrics),
            "classes": {
                name: {"support": int(self.support[k]), **_plain(self.classes[name])}
                for k, name in enumerate(names)
            },
            "confusion": self.confusion.tolist(),
            "confusions": [
                c._asdict() | {"label": names[c.label], "prediction": names[c.prediction]}
                for c in self.confusions
            ],
            "reliability": self.reliability.to_json(),
            "groups": {
                name: {"num_examples": self.group_sizes[name], **_plain(metrics)}
                for name, metrics in self.groups.items()
            },
        }


def measure(
    label: np.ndarray,
    logits: np.ndarray,
    class_names: Sequence[str],
    *,
    groups: Sequence[str] | None = None,
    temperature: float = 1.0,
    resamples: int = 1000,
    seed: int = 0,
) -> Measured:
    """label: int[N], 0 to K - 1; logits: float[N, K]; class_names: K different ones.

    groups: N names, for numbers of each group by itself. temperature: what logits are divided by.
    resamples, seed: for the intervals, see `jaxcnn.analysis.intervals`.
    Nothing needs a full copy of the logits: above their own memory stays within a few hundred MB
    for 50,000 examples of 1,000 classes.
    ValueError where shapes, labels, names or the temperature do not fit, or logits are not finite.
    """
    label, logits = np.asarray(label), np.asarray(logits)
    _check(label, logits, class_names, groups, temperature)
    seen = outcomes(label, logits, temperature)
    confusion = confusion_counts(label, seen.prediction, len(class_names))
    counts, resampled = margins(confusion), resample_margins(confusion, resamples, seed)
    ranks, ranks_drawn, error_drawn = _rankings(label, logits, seen, temperature, resamples, seed)

    metrics = count_estimates(counts, resampled)
    class_ranks, means = _rank_estimates(ranks, ranks_drawn)
    classes = class_estimates(counts, resampled) | class_ranks
    correct = seen.prediction == label
    error = expected_calibration_error(correct, seen.confidence)[0]
    top5 = share_estimate(int(seen.in_top5.sum()), len(label), resamples, seed)
    loss, brier = mean_estimates(np.stack([seen.loss, seen.brier]), resamples, seed)
    first = {"top5_accuracy": top5} if len(class_names) > 5 else {}
    metrics = {
        "accuracy": metrics.pop("accuracy"),
        **first,
        "loss": loss,
        **metrics,
        **means,
        "expected_calibration_error": _from_draws(error, error_drawn, NO_EXAMPLES),
        "brier": brier,
    }
    by_group, sizes = _by_group(label, seen, groups, resamples, seed)
    return Measured(
        metrics=metrics,
        classes={
            name: {metric: column[k] for metric, column in classes.items()}
            for k, name in enumerate(class_names)
        },
        support=confusion.sum(1),
        confusion=confusion,
        confusions=worst_confusions(confusion),
        reliability=reliability(correct, seen.confidence),
        groups=by_group,
        group_sizes=sizes,
        temperature=float(temperature),
        resamples=resamples,
        seed=seed,
    )


def plain_metrics(label: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    """The metrics of `eval.json`, see `jaxcnn.core.metrics.summarize`; NaN where a logit is.

    label: int[N]; logits: float[N, K].
    """
    with np.errstate(invalid="ignore"):  # of infinite logits the loss is NaN
        seen = outcomes(label, logits)
    return summarize(
        {
            "loss": seen.loss.sum(),
            "top5": seen.in_top5.sum(),
            "confusion": confusion_counts(label, seen.prediction, logits.shape[1]),
        }
    )


def _check(
    label: np.ndarray,
    logits: np.ndarray,
    class_names: Sequence[str],
    groups: Sequence[str] | None,
    temperature: float,
) -> None:
    if logits.ndim != 2 or label.shape != logits.shape[:1]:
        raise ValueError(f"got labels {label.shape} and logits {logits.shape}, not [N] and [N, K]")
    if len(set(class_names)) != logits.shape[1] or len(class_names) != logits.shape[1]:
        raise ValueError(f"{logits.shape[1]} classes need as many different names")
    if len(label) and not 0 <= label.min() <= label.max() < logits.shape[1]:
        raise ValueError(f"labels must be 0 to {logits.shape[1] - 1}")
    if groups is not None and len(groups) != len(label):
        raise ValueError(f"{len(label)} examples, but {len(groups)} names of groups")
    if not temperature > 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    if bad := not_finite(logits):
        raise ValueError(f"{bad:,} of {len(label):,} examples have logits that are not finite")


def calibration_metrics(
    label: np.ndarray, logits: np.ndarray, temperature: float
) -> dict[str, Estimate]:
    """The metrics that a temperature changes, see `measure`, without intervals."""
    if not len(label):
        return dict.fromkeys(CALIBRATION, Estimate(None, reason=NO_EXAMPLES))
    seen = outcomes(label, logits, temperature)
    error = expected_calibration_error(seen.prediction == label, seen.confidence)[0]
    values = (seen.loss.mean(), seen.brier.mean(), error)
    return {name: Estimate(float(x)) for name, x in zip(CALIBRATION, values, strict=True)}


def _rankings(
    label: np.ndarray,
    logits: np.ndarray,
    seen: Outcomes,
    temperature: float,
    resamples: int,
    seed: int,
) -> tuple[Ranking, Ranking | None, np.ndarray | None]:
    """Rankings of [K, 1]; of [K, R] and the calibration error [R] in resamples, unless too many."""
    parts = [
        one_vs_rest(label, share, classes=classes)
        for classes, share in class_columns(logits, seen, temperature)
    ]
    ranks = Ranking(*map(np.concatenate, zip(*parts, strict=True)))
    if len(label) > _EXAMPLES or logits.shape[1] > _CLASSES or not len(label):
        return ranks, None, None
    share = np.concatenate([s for _, s in class_columns(logits, seen, temperature)], axis=1)
    correct = seen.prediction == label
    drawn, errors = [], []
    for weights in resample_weights(len(label), resamples, seed):
        drawn.append(one_vs_rest(label, share, weights))
        errors.append(expected_calibration_error(correct, seen.confidence, weights))
    joined = (np.concatenate(columns, axis=1) for columns in zip(*drawn, strict=True))
    return ranks, Ranking(*joined), np.concatenate(errors)


def _rank_estimates(
    ranks: Ranking, drawn: Ranking | None
) -> tuple[dict[str, list[Estimate]], dict[str, Estimate]]:
    """Estimates of each class's rankings against the others, and of their means over classes."""
    positives = ranks.positives[:, 0]
    total = positives.sum()
    lacks = ["no example of another class" if n else "no example of this class" for n in positives]
    lacks = lacks if total else [NO_EXAMPLES] * len(positives)
    undefined = "only one class among the labels" if total else NO_EXAMPLES
    classes: dict[str, list[Estimate]] = {}
    means: dict[str, Estimate] = {}
    for name in ("roc_auc", "average_precision"):
        values = getattr(ranks, name)
        draws = [None] * len(values) if drawn is None else getattr(drawn, name)
        rows = zip(values[:, 0], draws, lacks, strict=True)
        classes[name] = [_from_draws(*row) for row in rows]
        value = class_means(values, ranks.positives)
        draw = class_means(getattr(drawn, name), drawn.positives) if drawn else (None, None)
        for place, average in enumerate(("macro", "weighted")):
            means[f"{name}_{average}"] = _from_draws(value[place][0], draw[place], undefined)
    return classes, means


def _from_draws(value: np.float64, draws: np.ndarray | None, undefined: str) -> Estimate:
    """draws: float64[R], or None where there were too many examples to resample."""
    if draws is None:
        return estimate(value, np.nan, np.nan, undefined, _TOO_LARGE)
    return estimate(value, *percentiles(value, draws), undefined, SAME)


def _by_group(
    label: np.ndarray, seen: Outcomes, groups: Sequence[str] | None, resamples: int, seed: int
) -> tuple[dict[str, dict[str, Estimate]], dict[str, int]]:
    result: dict[str, dict[str, Estimate]] = {}
    sizes: dict[str, int] = {}
    if groups is None or not len(label):
        return result, sizes
    names, members = np.unique(np.asarray(groups, object).astype(str), return_inverse=True)
    order = np.argsort(members, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(members[order])) + 1)
    for name, rows in zip(names.tolist(), parts, strict=True):
        # Numbered anew, so that a small group of a large problem stays small.
        both = np.stack([label[rows], seen.prediction[rows]])
        occurring, numbered = np.unique(both, return_inverse=True)
        own, called = numbered.reshape(both.shape)
        confusion = confusion_counts(own, called, len(occurring))
        counts = count_estimates(margins(confusion), resample_margins(confusion, resamples, seed))
        result[name] = {metric: counts[metric] for metric in _GROUP_METRICS}
        (result[name]["loss"],) = mean_estimates(seen.loss[rows][None], resamples, seed)
        sizes[name] = len(rows)
    return result, sizes


def _plain(estimates: dict[str, Estimate]) -> dict[str, dict[str, Any]]:
    return {name: estimate.to_json() for name, estimate in estimates.items()}
