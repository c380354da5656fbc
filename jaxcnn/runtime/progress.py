"""What the user sees while a run goes on: a bar on a terminal, else a line every few seconds."""

import logging
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

logger = logging.getLogger(__name__)

# Metrics of each member of a population, by its number.
OfMembers = Mapping[int, dict[str, float]]

_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_BETWEEN_BARS = 0.5


class Progress:
    """Reports step, loss, images/s and time left of a run."""

    def __init__(self, num_steps: int, start_step: int, batch_size: int):
        self._num_steps = num_steps
        self._start_step = start_step
        self._batch_size = batch_size
        self._bar = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=num_steps, initial=start_step, unit="step", leave=False)
        self._started = self._last = time.perf_counter()
        self._first: int | None = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def due(self) -> bool:
        """Whether it is time to report; cheap enough for every step."""
        wait = _SECONDS_BETWEEN_BARS if self._bar is not None else _SECONDS_BETWEEN_LINES
        return time.perf_counter() - self._last >= wait

    def report(self, step: int, loss: float) -> None:
        """Shows where the run is. step: the newest that has finished; loss: its mean loss."""
        self._last = time.perf_counter()
        seconds = self._last - self._started
        if self._first is None:
            count = step - self._start_step
            steps = "the first step" if count == 1 else f"the first {count} steps"
            logger.info("step %d · loss %.4f · %.2f s for %s", step, loss, seconds, steps)
            # What the first step costs more is no part of the rate.
            self._first, self._started = step, self._last
            return
        if step <= self._first:  # as long as no other is known to have finished
            return
        rate = (step - self._first) * self._batch_size / seconds
        left = (self._num_steps - step) * self._batch_size / rate
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.4f}, {rate:,.0f} images/s")
            self._bar.update(step - self._bar.n)
            return
        logger.info(
            "step %d of %d · loss %.4f · %s images/s · %s left",
            step, self._num_steps, loss, f"{rate:,.0f}", _duration(left),
        )  # fmt: skip

    def note(self, step: int, epoch: float, train: OfMembers, validation: OfMembers) -> None:
        """Logs the metrics of an evaluation: of a run, or from the least to the greatest of the
        members'.
        """
        parts = []
        for split, metrics in (("train", train), ("validation", validation)):
            # Those without a loss have made no update.
            if known := [one for one in metrics.values() if "loss" in one]:
                loss = _range([one["loss"] for one in known], ".4f")
                accuracy = _range([one["accuracy"] for one in known], ".2%")
                parts.append(f"{split} loss {loss}, accuracy {accuracy}")
        if shares := [one["mfu"] for one in train.values() if "mfu" in one]:
            parts.append(f"MFU {max(shares):.1%}")
        if parts:
            logger.info("epoch %.4g · step %d · %s", epoch, step, " · ".join(parts))
        self._last = time.perf_counter()


def counter(total: int | None, unit: str) -> AbstractContextManager[Any]:
    """A bar on a terminal that counts, with `update()`, and goes away; elsewhere None."""
    if not sys.stderr.isatty():
        return nullcontext()
    from tqdm import tqdm

    return tqdm(total=total, unit=unit, leave=False)


def setup_logging() -> None:
    """Sends jaxcnn's messages to stderr as they are, beside a progress bar; once a process."""
    package = logging.getLogger("jaxcnn")
    if not package.handlers:
        package.addHandler(_Handler())
        package.setLevel(logging.INFO)
        package.propagate = False
    # Orbax and TFDS write dozens of lines through absl, and pages where a disk is full; what they
    # fail at they raise as well.
    logging.getLogger("absl").setLevel(logging.CRITICAL)


@contextmanager
def quiet(name: str) -> Iterator[None]:
    """Leaves out the dozens of lines that jaxcnn logs of each run, all but warnings and what the
    logger `name` and those below it say.
    """
    levels = {"jaxcnn": logging.WARNING, name: logging.INFO}
    previous = {one: logging.getLogger(one).level for one in levels}
    try:
        for one, level in levels.items():
            logging.getLogger(one).setLevel(level)
        yield
    finally:
        for one, level in previous.items():
            logging.getLogger(one).setLevel(level)


class _Handler(logging.Handler):
    """Prints to the stderr of the moment, above a progress bar if there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        if record.levelno >= logging.WARNING:
            text = f"{record.levelname.lower()}: {text}"
        if "tqdm" in sys.modules:
            sys.modules["tqdm"].tqdm.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)


def _range(values: list[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
