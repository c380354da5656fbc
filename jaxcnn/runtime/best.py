"""Which checkpoint is the best."""

import math
from collections.abc import Callable


def rank(best_metric: str, metrics: dict[str, float]) -> float:
    """Of a checkpoint by its metrics on validation: the best has the greatest. best_metric: "loss",
    of which a lower one is better, or another. What is no number ranks last.
    """
    value = metrics[best_metric]
    if not math.isfinite(value):
        return -math.inf
    return -value if best_metric == "loss" else value


class Best:
    """Orbax preservation policy: the best-ranked checkpoint, the later of equal ones."""

    def __init__(self, rank: Callable[[dict[str, float]], float]):
        self._rank = rank

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        del context
        ranked = [(self._rank(c.metrics), c.step) for c in checkpoints if c.metrics]
        best = max(ranked)[1] if ranked else None
        return [c.step == best for c in checkpoints]
