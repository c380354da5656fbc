"""Ctrl-C and SIGTERM: finish the step, save, stop.

Of several processes, a signal reaches one, or each at another step; all must stop at the same. So a
signal's number goes with the batch, the step gives all processes the largest, and they stop where
they read it, which is at the same step in each (`jaxcnn.runtime.window`).
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import jax
import jax.numpy as jnp


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
    """Within, the first Ctrl-C or SIGTERM only sets the request; a second Ctrl-C ends the process
    at once (in a notebook, the cell). In a thread that is not the main one, where Python allows no
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

    before = {n: signal.signal(n, handle) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def telling(step: Callable[..., Any], axis_name: str | None) -> Callable[..., Any]:
    """A train step whose batch has "signal" besides, int32 of one number a device, 0 where there is
    none; its metrics have the largest of them.
    """

    def telling_step(state: Any, batch: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        rest = {name: value for name, value in batch.items() if name != "signal"}
        state, metrics = step(state, rest)
        largest = jnp.max(batch["signal"])
        if axis_name is not None:
            largest = jax.lax.pmax(largest, axis_name)
        return state, metrics | {"signal": largest}

    return telling_step
