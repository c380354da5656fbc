"""What a search over configs has found: trials, and what is known of them all."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple


class Trial(NamedTuple):
    """One config that was tried.

    number: from 0, in the order of their starts.
    state: "complete", "pruned" (stopped early, because others did better), "failed" or "running".
    params: what was searched, by key of the config: {"optimizer.learning_rate": 0.1, ...}. Numbers,
      and words (or what else a choice holds). Trials may have different keys.
    value: the best on validation; None where there is none.
    history: (step, value on validation) of each evaluation, in order.
    seconds: how long it took; None where that is not known.
    reason: why it failed, in one line; "" where it did not.
    """

    number: int
    state: str
    params: Mapping[str, Any]
    value: float | None = None
    history: Sequence[tuple[int, float]] = ()
    seconds: float | None = None
    reason: str = ""


class Search(NamedTuple):
    """A search: what it was for, its trials and its winner.

    title: of the page. metric: of validation, which ranks the trials: "accuracy", "loss", ...
    log: the parameters that were searched on a log scale.
    importance: by parameter, shares of 1: how much of the value's variance each explains; None
      where that is not known (with few trials, or one parameter).
    best_config: the text of `best.py`; "" where no trial is complete.
    test: `eval.json` of the winner; None where it was not tested.
    command: that repeats the search, or continues it.
    """

    title: str
    metric: str
    lower_is_better: bool
    log: frozenset[str]
    trials: Sequence[Trial]
    importance: Mapping[str, float] | None = None
    best_config: str = ""
    test: Mapping[str, Any] | None = None
    command: str = ""

    @property
    def best(self) -> Trial | None:
        """The complete trial with the best value, the first of equals; None where there is none."""
        sign = 1 if self.lower_is_better else -1
        ranked = [
            (sign * one.value, one.number, one)
            for one in self.trials
            if one.state == "complete" and one.value is not None and math.isfinite(one.value)
        ]
        return min(ranked, key=lambda rank: rank[:2])[2] if ranked else None
