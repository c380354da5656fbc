"""Metrics of train steps on their way from the device."""

import math
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np


class MetricWindow:
    """The metrics of the steps since the last line of `metrics.jsonl`.

    Steps are dispatched faster than they finish; only `collect` waits for all of them.
    """

    def __init__(self, one_copy: Callable[[Any], Any]):
        """one_copy: see `jaxcnn.runtime.mesh.Parallel`."""
        self._one_copy = one_copy
        self._metrics: list[tuple[int, Any]] = []
        # Enough to keep a device busy; on the CPU the host has to share its cores with the steps.
        self._ahead = 2 if jax.default_backend() == "cpu" else 16
        self.restart_clock()

    def restart_clock(self) -> None:
        """Leaves the time since the last step (evaluation, a save) out of images/s."""
        self._started = time.perf_counter()

    def add(self, step: int, metrics: Any) -> None:
        """Waits where too many steps are under way, for the oldest of them to finish.

        JAX would dispatch dozens ahead, and a request to stop would have to wait for them all.
        """
        self._metrics.append((step, metrics))
        if len(self._metrics) > self._ahead:
            self._metrics[-1 - self._ahead][1]["loss"].block_until_ready()

    def latest(self) -> tuple[int, float] | None:
        """The newest step known to have finished and its mean loss; the first one is waited for.

        None where the window is empty.
        """
        if not self._metrics:
            return None
        step, metrics = self._metrics[max(0, len(self._metrics) - 1 - self._ahead)]
        return step, _mean([self._fetch(metrics)], "loss")

    def collect(self) -> dict[str, float]:
        """Waits for all steps and empties the window: {"loss", "accuracy", "images_per_second"}.

        The first two are means over the examples as the steps saw them, augmented, dropout on.
        Raises NonFiniteLoss.
        """
        fetched = [self._fetch(metrics) for _, metrics in self._metrics]
        seconds = time.perf_counter() - self._started
        for (step, _), metrics in zip(self._metrics, fetched, strict=True):
            if not math.isfinite(metrics["loss"]):
                raise NonFiniteLoss(step, float(metrics["loss"]))
        self._metrics.clear()
        count = sum(float(metrics["count"]) for metrics in fetched)
        return {
            "loss": _mean(fetched, "loss"),
            "accuracy": _mean(fetched, "correct"),
            "images_per_second": round(count / seconds, 1),
        }

    def _fetch(self, metrics: Any) -> dict[str, np.ndarray]:
        return jax.device_get(self._one_copy(metrics))


class NonFiniteLoss(Exception):
    """A loss at `step`, or the parameters it would be computed from, are NaN or infinite."""

    def __init__(self, step: int, loss: float, what: str = "loss"):
        self.step = step
        super().__init__(f"{what} is {loss} at step {step}")


def _mean(fetched: list[dict[str, np.ndarray]], name: str) -> float:
    total = sum(float(metrics[name]) for metrics in fetched)
    return total / max(sum(float(metrics["count"]) for metrics in fetched), 1)
