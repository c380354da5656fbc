"""A trace of a few steps, for TensorBoard's profiler and XProf."""

import logging
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import jax

from jaxcnn.files.folders import LocalFolder

logger = logging.getLogger(__name__)

# Of the steps from the start of a process the first ones compile, warm up and fill queues. Where
# several are one program, whole programs are traced.
FIRST, STEPS = 5, 6


class Profile:
    """Traces STEPS steps of a process from the FIRST on into `plugins/profile` of a run directory,
    where TensorBoard looks for it; of a run that ends before as many as there are.
    """

    def __init__(self, workdir: Path | None, start: int):
        """workdir: None for no trace. start: updates made before this process."""
        self._workdir = workdir
        self._first = start + FIRST
        self._folder: LocalFolder | None = None  # while it traces

    def __enter__(self) -> "Profile":
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def step(self, step: int, state: Any) -> AbstractContextManager[Any]:
        """Context for the call that starts the updates from number `step` on. state: that of the
        previous update, which is waited for where the trace ends with it.
        """
        if self._folder is None and self._workdir is not None and step >= self._first:
            folder = LocalFolder(self._workdir)
            jax.profiler.start_trace(folder.path)  # not ours to stop where it raises
            self._folder, self._first = folder, step
        elif self._folder is not None and step >= self._first + STEPS:
            jax.block_until_ready(state)
            self._stop()
        if self._folder is None:
            return nullcontext()
        return jax.profiler.StepTraceAnnotation("train", step_num=step)

    def _stop(self) -> None:
        folder, workdir = self._folder, self._workdir
        if folder is None:
            return
        self._folder = self._workdir = None
        jax.profiler.stop_trace()
        try:
            folder.keep()
            logger.info(
                "trace from step %d on: %s (pip install xprof; tensorboard --logdir %s)",
                self._first, f"{workdir}/plugins/profile", workdir,
            )  # fmt: skip
        except OSError as error:
            logger.warning("no trace: %s", error)
        finally:
            folder.drop()
