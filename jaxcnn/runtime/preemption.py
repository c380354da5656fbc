"""Ctrl-C and SIGTERM: finish the step, save, stop.

Of several processes, a signal reaches one, or each at another step; all must stop at the same. So a
signal's number goes to the devices with each batch, the step gives all processes the largest
(`jaxcnn.core.step_wrappers.with_signal`), and they stop where they read it, which is at the same
step in each (`jaxcnn.runtime.window`).
"""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(Exception):
    """A run was asked to stop and did, after saving.

    exit_code: 130 for Ctrl-C, 143 for SIGTERM, as a shell reports them.
    step: the step that was saved.
    """

    def __init__(self, number: int, step: int):
        self.exit_code = 128 + number
        self.step = step
        super().__init__(f"{signal.Signals(number).name}: saved step {step}")

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback."""
        return [f"stopped, step {self.step} is saved; run the cell again to resume"]


class StopRequest:
    """Whether a signal has asked the run to stop: its number, or None."""

    signal: int | None = None


@contextmanager
def catch_signals() -> Iterator[StopRequest]:
    """Makes the first Ctrl-C or SIGTERM only set the request; a second Ctrl-C ends the process at
    once (in a notebook, the cell). In a thread that is not the main one, where Python allows no
    handlers, nothing changes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def handle(number: int, frame: FrameType | None) -> None:
        del frame
        if number == signal.SIGINT and request.signal == signal.SIGINT:
            if "ipykernel" in sys.modules:
                raise KeyboardInterrupt  # the notebook's other variables are not ours to lose
            os._exit(130)
        request.signal = number

    previous = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
