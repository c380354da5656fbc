"""Images of several requests, answered together: what comes while the model works is its next
batch (Crankshaw et al. 2017, Clipper: adaptive batching with a bounded delay).
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from jaxcnn.serving.limits import busy, failed

logger = logging.getLogger(__name__)


class Waiting(NamedTuple):
    """One request's images, uint8[n, H, W, C], and where their answers go."""

    images: np.ndarray
    future: asyncio.Future
    since: float


class Batcher:
    """A bounded queue before a function, and the threads that empty it.

    run: uint8[n, H, W, C] -> [n, ...], any n from 1; called by `workers` threads at once.
    most: images of a batch; a request with more is a batch by itself.
    delay: seconds that the first of a batch waits for others, where there is room for them.
    waiting: images that may wait; `submit` refuses what is more.
    """

    def __init__(
        self,
        run: Callable[[np.ndarray], np.ndarray],
        most: int = 32,
        delay: float = 0.0,
        waiting: int = 512,
        workers: int = 1,
    ):
        self.run = run
        self.most = most
        self.delay = delay
        self.waiting = waiting
        self.sizes: dict[int, int] = {}
        self._queue: deque[Waiting] = deque()
        self._queued = 0
        self._open = True
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"batches-{k}", daemon=True)
            for k in range(workers)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Answers what waits, and ends the threads."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    @property
    def queued(self) -> int:
        """Images that wait now."""
        return self._queued

    def submit(self, images: np.ndarray) -> asyncio.Future:
        """The answers to come, [n, ...]; Refused where too many wait. For the event loop alone."""
        if not self._open:
            raise busy("the server is stopping")
        # A request larger than the queue is answered where nothing else waits.
        if self._queued and self._queued + len(images) > self.waiting:
            raise busy(f"{self._queued} images wait already")
        one = Waiting(images, asyncio.get_running_loop().create_future(), time.monotonic())
        with self._changed:
            self._queue.append(one)
            self._queued += len(images)
            self._changed.notify()
        return one.future

    def _work(self) -> None:
        while batch := self._next():
            batch = [one for one in batch if not one.future.cancelled()]
            if not batch:
                continue
            images = [one.images for one in batch]
            result: np.ndarray | Exception
            try:
                result = self.run(images[0] if len(images) == 1 else np.concatenate(images))
            except Exception:  # of whatever kind: it is logged once, not for each request
                logger.exception("a batch of %d images failed", sum(map(len, images)))
                result = failed()
            loop = batch[0].future.get_loop()
            try:
                loop.call_soon_threadsafe(self._deliver, batch, result)
            except RuntimeError:  # the loop has ended: nobody waits any more
                return

    def _next(self) -> list[Waiting]:
        """The requests of the next batch; none when the batcher is closed and all is done."""
        with self._changed:
            while True:
                while self._open and not self._queue:
                    self._changed.wait()
                if not self._queue:
                    return []
                left = self._queue[0].since + self.delay - time.monotonic()
                if left <= 0 or self._queued >= self.most or not self._open:
                    break
                self._changed.wait(left)
            # Each worker takes its share: one long batch beside idle workers would help nobody.
            share = min(self.most, -(-self._queued // len(self._threads)))
            batch = [self._queue.popleft()]
            size = len(batch[0].images)
            while self._queue and size + len(self._queue[0].images) <= share:
                batch.append(self._queue.popleft())
                size += len(batch[-1].images)
            self._queued -= size
            return batch

    def _deliver(self, batch: list[Waiting], result: np.ndarray | Exception) -> None:
        """In the event loop."""
        size = sum(len(one.images) for one in batch)
        self.sizes[size] = self.sizes.get(size, 0) + 1
        start = 0
        for one in batch:
            end = start + len(one.images)
            if not one.future.done():
                if isinstance(result, Exception):
                    one.future.set_exception(result)
                else:
                    one.future.set_result(result[start:end])
            start = end
