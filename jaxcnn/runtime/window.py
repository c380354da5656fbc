"""Metrics of train steps on their way from the device, and where the time of the steps goes."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import jax
import numpy as np


class MetricWindow:
    """The metrics of the steps since the last line of `metrics.jsonl`, for each member.

    Steps are dispatched faster than they finish; `collect` waits for those it tells of.
    """

    def __init__(self, each: Callable[[Any], Any], max_skipped: int = 0):
        """each: see `jaxcnn.runtime.mesh.Parallel`.

        max_skipped: updates that a member may leave out in a row, of steps that do so
          (`jaxcnn.core.step_wrappers`).
        """
        self._each = each
        self._max_skipped = max_skipped
        self._skipped_in_row: dict[int, int] = {}
        self.times = StepTimes()
        self._programs: list[tuple[range, Any]] = []
        # Enough to keep a device busy; on the CPU the host has to share its cores with the steps.
        self._max_pending = 2 if jax.default_backend() == "cpu" else 16
        self._signal = 0
        self.restart_clock()

    @property
    def signal(self) -> int | None:
        """Of several processes: the number of a signal that one of them has been sent, the same at
        the same step in all (see `jaxcnn.runtime.preemption`); None if there is none.
        """
        return self._signal or None

    def restart_clock(self) -> None:
        """Leaves the time since the last step (evaluation, a save) out of images/s."""
        self._started = time.perf_counter()

    def add(self, step: int, metrics: Any, count: int = 1) -> None:
        """Takes the metrics of a step, or of `count` that end with it, as
        `jaxcnn.core.step_wrappers.scan_steps` gives them. Waits where too many steps are under way,
        for the oldest of them to finish.

        JAX would dispatch dozens ahead, and a request to stop would have to wait for them all.
        """
        self._programs.append((range(step - count + 1, step + 1), metrics))
        if (oldest := self._newest_done()) is not None:
            with self.times.spent("device"):
                oldest[1]["loss"].block_until_ready()
            if "signal" in oldest[1]:
                self._note_signal(self._each({"signal": oldest[1]["signal"]}))

    def _newest_done(self) -> tuple[range, Any] | None:
        """The newest program that is waited for: no more steps than allowed have come after it."""
        last = self._programs[-1][0][-1] - self._max_pending
        return next((one for one in reversed(self._programs) if one[0][-1] <= last), None)

    def latest(self) -> tuple[int, float] | None:
        """The newest step known to have finished and its mean loss, over members whose loss is a
        number; the first step is waited for. None where the window is empty.
        """
        if not self._programs:
            return None
        steps, metrics = self._newest_done() or self._programs[0]
        with self.times.spent("device"):
            loss = _mean(self._of_steps(steps, metrics)[-1:], "loss")
        numbers = loss[np.isfinite(loss)]
        return steps[-1], float(numbers.mean()) if len(numbers) else math.nan

    def collect(self, until: int | None = None) -> list["dict[str, float] | NonFiniteLoss"]:
        """Waits for the steps up to `until`, which ends a program, or for all, and takes them out
        of the window: for each member {"loss", "accuracy", "images_per_second", "step_ms"} and what
        `times` gives, or why it cannot go on. Of steps that may leave out an update also "skipped",
        how many of them did.

        The first two are means over the examples as the steps saw them, augmented, dropout on; they
        are not there if no update was made.
        """
        taken = [one for one in self._programs if until is None or one[0][-1] <= until]
        steps = [step for of_program, _ in taken for step in of_program]
        with self.times.spent("device"):
            fetched = [one for program in taken for one in self._of_steps(*program)]
        seconds = time.perf_counter() - self._started
        self.restart_clock()
        for metrics in fetched:
            self._note_signal(metrics)
        del self._programs[: len(taken)]
        accuracy = _mean(fetched, "correct")
        rate = np.sum([metrics["count"] for metrics in fetched], axis=0) / seconds
        times = {"step_ms": round(1e3 * seconds / len(steps), 3)} | self.times.take(len(steps))
        lines: list[dict[str, float] | NonFiniteLoss] = []
        for member, loss in enumerate(_mean(fetched, "loss")):
            own = [{name: values[member] for name, values in m.items()} for m in fetched]
            if (wrong := self._wrong(member, steps, own)) is not None:
                lines.append(wrong)
                continue
            line = {}
            if np.isfinite(loss):
                line = {"loss": float(loss), "accuracy": float(accuracy[member])}
            line["images_per_second"] = round(float(rate[member]), 1)
            if "skipped" in own[0]:
                line["skipped"] = sum(int(metrics["skipped"]) for metrics in own)
            lines.append(line | times)
        return lines

    def _of_steps(self, steps: range, metrics: Any) -> list[dict[str, np.ndarray]]:
        """The metrics of each step of a program, [members]; waits for them."""
        fetched = self._each(metrics)
        if fetched["loss"].ndim == 1:
            return [fetched]
        return [{name: v[:, place] for name, v in fetched.items()} for place in range(len(steps))]

    def _note_signal(self, metrics: dict[str, np.ndarray]) -> None:
        if "signal" in metrics:
            self._signal = max(self._signal, int(metrics["signal"].max()))

    def _wrong(
        self, member: int, steps: list[int], own: list[dict[str, Any]]
    ) -> "NonFiniteLoss | None":
        """The error that ends a member, from its metrics of each step; None if it goes on."""
        in_row = self._skipped_in_row.get(member, 0)
        for step, metrics in zip(steps, own, strict=True):
            if not np.isfinite(metrics["loss"]):
                return NonFiniteLoss(step, float(metrics["loss"]))
            in_row = in_row + 1 if metrics.get("skipped") else 0
            if in_row > self._max_skipped:
                return NonFiniteLoss(step, "not finite", f"each of the last {in_row} updates")
        self._skipped_in_row[member] = in_row
        return None


class NonFiniteLoss(Exception):
    """A loss at `step`, or the parameters it would be computed from, are NaN or infinite."""

    def __init__(self, step: int, loss: float | str, what: str = "loss"):
        self.step = step
        super().__init__(f"{what} is {loss} at step {step}")


def _mean(fetched: list[dict[str, np.ndarray]], name: str) -> np.ndarray:
    """Over the examples of all steps, float64[members]; NaN where there were none."""
    count = sum(metrics["count"].astype(np.float64) for metrics in fetched)
    total = sum(metrics[name].astype(np.float64) for metrics in fetched)
    return np.divide(total, count, out=np.full(np.shape(count), np.nan), where=count > 0)


Item = TypeVar("Item")


class StepTimes:
    """The seconds since the last line, by what the loop was doing.

    data: waiting for the next batch, and handing it to the devices. Near 0 where batches are ready.
    dispatch: telling the devices what to do; one CPU is handed its batch with that.
    device: waiting for the devices. Near 0 where the host cannot keep them busy.
    """

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(("data", "dispatch", "device"), 0.0)

    @contextmanager
    def spent(self, what: str) -> Iterator[None]:
        """Counts the time within."""
        clock = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[what] += time.perf_counter() - clock

    def batches(self, batches: Iterator[Item]) -> Iterator[Item]:
        """The same batches; waiting for each is `data`."""
        while True:
            with self.spent("data"):
                batch = next(batches, _END)
            if batch is _END:
                return
            yield batch

    def take(self, steps: int) -> dict[str, float]:
        """{"data_wait_ms", "dispatch_ms", "device_wait_ms"}, means over so many steps since the
        last call.
        """
        names = {"data": "data_wait_ms", "dispatch": "dispatch_ms", "device": "device_wait_ms"}
        taken = {names[k]: round(1e3 * v / max(steps, 1), 3) for k, v in self._seconds.items()}
        self._seconds = dict.fromkeys(self._seconds, 0.0)
        return taken


_END: Any = object()
