"""A search over configs as its results show it: the trials, and what is known of them all."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Trial(NamedTuple):
    """One config that was tried.

    number: from 0, in the order of their starts.
    state: "complete", "pruned" (stopped early, because others did better), "failed" or "running".
    params: what was searched, {"optimizer.learning_rate": 0.1, ...}: numbers, words, or what else a
      choice holds. Trials may have different keys.
    value: the best on validation. history: (step, value on validation), in order.
    seconds: how long it took. reason: why it failed, in one line; "" where it did not.
    """

    number: int
    state: str
    params: Mapping[str, Any]
    value: float | None = None
    history: Sequence[tuple[int, float]] = ()
    seconds: float | None = None
    reason: str = ""

    @property
    def is_ranked(self) -> bool:
        """Whether it is complete, with a finite value."""
        return self.state == "complete" and self.value is not None and math.isfinite(self.value)


class Search(NamedTuple):
    """A search: what it was for, its trials and its winner.

    title: of the page. metric: of validation, which ranks the trials: "accuracy", "loss", ...
    log: the parameters that were searched on a log scale.
    importance: by parameter, shares of 1: how much of the value's variance each explains; None
      where that is not known (with few trials, or one parameter).
    best_config: the text of `best.py`. test: `eval.json` of the winner; None: it was not tested.
    command: that repeats the search, or continues it.
    """

    title: str
    metric: str
    log: frozenset[str]
    trials: Sequence[Trial]
    importance: Mapping[str, float] | None = None
    best_config: str = ""
    test: Mapping[str, Any] | None = None
    command: str = ""

    @property
    def lower_is_better(self) -> bool:
        return self.metric == "loss"

    @property
    def best(self) -> Trial | None:
        """The complete trial with the best value, the first of equals; None where there is none."""
        sign = 1 if self.lower_is_better else -1
        ranked = [trial for trial in self.trials if trial.is_ranked]
        return min(ranked, key=lambda one: (sign * (one.value or 0), one.number), default=None)

    @property
    def keys(self) -> list[str]:
        """The keys of all trials' parameters, the most important first."""
        keys = dict.fromkeys(key for trial in self.trials for key in trial.params)
        importance = self.importance or {}
        return sorted(keys, key=lambda key: -importance.get(key, 0.0))


def show(metric: str, value: float | None) -> str:
    """Writes a metric and its value for people."""
    if value is None:
        return f"no {metric}"
    return f"{metric} {value:.4f}" if metric == "loss" else f"{metric} {value:.2%}"
