"""The same recipe with several seeds: how good it is on average, and how sure that is.

The interval is Student's (1908, "The probable error of a mean"): it takes the seeds' results for a
sample from a normal distribution. It tells of the luck of training (first parameters, the order of
examples, augmentation, dropout) and not of the luck of having these test images, which all seeds
share.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

LEVEL = 0.95
# Numbers of an eval.json that are no metrics.
_NO_METRICS = ("checkpoint_step", "num_examples")


class SeedStatistics(NamedTuple):
    """A metric over n seeds.

    std: the sample standard deviation (divided by n - 1), how far a single seed is from the mean.
    low, high: the 95 % interval of the mean. All three are None for a single seed, which tells
      nothing about its own luck.
    values: one for each seed, in the order of the seeds.
    """

    mean: float
    std: float | None
    low: float | None
    high: float | None
    values: tuple[float, ...]

    @property
    def half_width(self) -> float | None:
        """Half the length of the interval: the number after the "±"."""
        return None if self.high is None else self.high - self.mean


def over_seeds(metrics: Mapping[int, Mapping[str, Any]]) -> dict[str, SeedStatistics]:
    """Statistics of every metric that all seeds have.

    metrics: the content of `eval.json` by seed. What is no finite number for some seed is left out.
    ValueError without seeds.
    """
    if not metrics:
        raise ValueError("statistics over seeds need the metrics of at least one")
    rows = [metrics[seed] for seed in sorted(metrics)]
    names = [
        name
        for name in rows[0]
        if name not in _NO_METRICS and all(_is_finite(row.get(name)) for row in rows)
    ]
    return {name: _statistics(np.array([row[name] for row in rows], float)) for name in names}


def _statistics(values: np.ndarray) -> SeedStatistics:
    """values: float64[n]."""
    count, mean = len(values), float(values.mean())
    shown = tuple(values.tolist())
    if count == 1:
        return SeedStatistics(mean, None, None, None, shown)
    from scipy.stats import t

    std = float(values.std(ddof=1))
    half = float(t.ppf((1 + LEVEL) / 2, count - 1)) * std / math.sqrt(count)
    return SeedStatistics(mean, std, mean - half, mean + half, shown)


def seeds_eval(metrics: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
    """The content of the parent's `eval.json`: {"split", "num_examples", "seeds": [0, 1, ...], a
    mean by each metric's name, "std": {name: deviation}, "ci95": {name: [low, high]}}; deviations
    and intervals are None for a single seed.

    metrics: the content of `eval.json` by seed. ValueError where seeds were evaluated on different
    images.
    """
    statistics = over_seeds(metrics)
    seeds = sorted(metrics)
    same = ("split", "num_examples")
    for name in same:
        if len({metrics[seed].get(name) for seed in seeds}) > 1:
            raise ValueError(f"seeds differ in {name!r}: evaluate them on the same images")
    return {
        **{name: metrics[seeds[0]].get(name) for name in same},
        "seeds": seeds,
        **{name: one.mean for name, one in statistics.items()},
        "std": {name: one.std for name, one in statistics.items()},
        "ci95": {
            name: None if one.low is None else [one.low, one.high]
            for name, one in statistics.items()
        },
    }


def seeds_headline(evaluated: Mapping[str, Any]) -> str:
    """The line that a recipe's docstring may quote: "test accuracy 99.44 % ± 0.16 (95 % interval of
    the mean of 5 seeds)".

    evaluated: what `seeds_eval` gives, the parent's `eval.json`.
    """
    count, mean = len(evaluated["seeds"]), 100 * evaluated["accuracy"]
    headline = f"{evaluated['split']} accuracy {mean:.2f} %"
    if (interval := evaluated["ci95"]["accuracy"]) is None:
        return f"{headline} (1 seed: how much of it is luck is not known)"
    if not evaluated["std"]["accuracy"]:
        return f"{headline} (all {count} seeds alike, on {evaluated['num_examples']:,} images)"
    half = 100 * interval[1] - mean
    return f"{headline} ± {half:.2f} (95 % interval of the mean of {count} seeds)"


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
