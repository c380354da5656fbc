"""Every example once: sums on the device for metrics, or what the model says of each."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from jaxcnn.core.metrics import summarize
from jaxcnn.core.state import TrainState
from jaxcnn.data.pipeline import eval_batches
from jaxcnn.data.source import Split
from jaxcnn.runtime.mesh import Parallel

# Batches under way at once: enough to keep the device busy, few enough to bound the memory that
# 1,000 x 1,000 confusion matrices take.
_AHEAD = 4


def predict(
    predict_step: Callable[..., Any],
    state: Any,
    split: Split,
    batch_size: int,
    parallel: Parallel,
) -> dict[str, np.ndarray]:
    """What `predict_step` gives for each example of a split, in order: {name: array[N, ...]}.

    predict_step: compiled; state: what it takes, placed. batch_size: a multiple of the number of
      devices.
    """
    found: dict[str, list[np.ndarray]] = {}
    under_way: deque = deque()

    def collect() -> None:
        outputs, mask = under_way.popleft()
        for name, value in jax.device_get(parallel.one_copy(outputs)).items():
            found.setdefault(name, []).append(value[mask])

    for batch in eval_batches(split, batch_size):
        under_way.append((predict_step(state, parallel.place_batch(batch)), batch["mask"]))
        if len(under_way) > _AHEAD:
            collect()
    while under_way:
        collect()
    return {name: np.concatenate(parts) for name, parts in found.items()}


def evaluate(
    eval_step: Callable[..., Any],
    state: TrainState,
    batches: Iterable[Any],
    parallel: Parallel,
) -> list[dict[str, float]]:
    """Metrics of a state on all examples, see `jaxcnn.core.metrics.summarize`, for each member.

    eval_step: compiled; state and batches: placed as it expects.
    """
    totals: dict[str, np.ndarray] = {}
    under_way: deque = deque()

    def collect() -> None:
        for name, value in parallel.each(under_way.popleft()).items():
            kind = np.float64 if value.dtype.kind == "f" else np.int64
            totals[name] = totals.get(name, 0) + value.astype(kind)

    for batch in batches:
        under_way.append(eval_step(state, batch))
        if len(under_way) > _AHEAD:
            collect()
    while under_way:
        collect()
    members = len(totals["loss"])
    return [summarize({name: value[i] for name, value in totals.items()}) for i in range(members)]
