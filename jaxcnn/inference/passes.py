"""Every example once: sums on the devices for metrics, or what the model says of each."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from jaxcnn.core.metrics import summarize
from jaxcnn.core.state import TrainState
from jaxcnn.runtime.mesh import Parallel

# Batches under way at once: enough to keep the device busy, few enough to bound the memory that
# 1,000 x 1,000 confusion matrices take.
_AHEAD = 4


def predict(
    predict_step: Callable[..., Any],
    state: Any,
    batches: Iterable[Any],
    num_examples: int,
    parallel: Parallel,
) -> dict[str, np.ndarray]:
    """What a step says of each example, in order: {name: array[members, num_examples, ...]}.

    predict_step: compiled, see `jaxcnn.core.step.make_predict_step`; state and batches: placed as
      it expects. With several processes each has its share of a batch, and all get all outputs.
    num_examples: how many there are; what comes after them, in the last batch, is padding.
    """
    outputs: dict[str, np.ndarray] = {}
    start = 0
    for result in _results(predict_step, state, batches, parallel):
        for name, value in result.items():
            if name not in outputs:  # the whole of it at once: nothing is ever there twice
                shape = (len(value), num_examples, *value.shape[2:])
                outputs[name] = np.empty(shape, value.dtype)
            outputs[name][:, start : start + value.shape[1]] = value[:, : num_examples - start]
        start += value.shape[1]
    return outputs


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
    for sums in _results(eval_step, state, batches, parallel):
        for name, value in sums.items():
            kind = np.float64 if value.dtype.kind == "f" else np.int64
            totals[name] = totals.get(name, 0) + value.astype(kind)
    members = len(totals["loss"])
    return [summarize({name: value[i] for name, value in totals.items()}) for i in range(members)]


def _results(
    step: Callable[..., Any], state: Any, batches: Iterable[Any], parallel: Parallel
) -> Iterator[dict[str, np.ndarray]]:
    """What a step returns for each batch, on the host, with the members on the leading axis."""
    under_way: deque = deque()
    for batch in batches:
        under_way.append(step(state, batch))
        if len(under_way) > _AHEAD:
            yield parallel.each(under_way.popleft())
    while under_way:
        yield parallel.each(under_way.popleft())
