"""Early stopping, decided by the metrics on record and nothing else."""

from collections.abc import Sequence

# (step, value) of each evaluation so far, in order.
History = Sequence[tuple[int, float]]


def best_step(history: History, *, lower_is_better: bool, min_delta: float = 0.0) -> int:
    """The step of the last evaluation that was better by more than `min_delta` than the last such
    one before it; of the first, where none was.
    """
    sign = -1.0 if lower_is_better else 1.0
    step, best = history[0][0], sign * history[0][1]
    for at, value in history[1:]:
        if sign * value > best + min_delta:
            step, best = at, sign * value
    return step


def should_stop(
    history: History, patience: int, *, lower_is_better: bool, min_delta: float = 0.0
) -> bool:
    """Whether the last evaluation is `patience` steps or more after the best (Prechelt 1998)."""
    if not history:
        return False
    best = best_step(history, lower_is_better=lower_is_better, min_delta=min_delta)
    return history[-1][0] - best >= patience
