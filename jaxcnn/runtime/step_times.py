"""Where the time of train steps goes, as the loop that starts them sees it."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")


class StepTimes:
    """Seconds since the last line, by what the loop was doing. It costs two looks at a clock
    each.

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
