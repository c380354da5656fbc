"""Work done ahead of its use by a thread, handed over in lists as long as the moment allows."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from queue import Empty, Full, Queue
from typing import Any, NamedTuple, TypeVar

_T = TypeVar("_T")

# How often a thread that cannot go on looks whether it is still wanted, in seconds.
_LOOK = 0.1
# How long the end waits for a thread that itself waits for a file or a camera.
_GRACE = 1.0


class _End(NamedTuple):
    """error: what ended it early."""

    error: BaseException | None


def lists_ahead(
    items: Generator[Future[_T] | _T, None, None],
    most: int,
    patience: float,
    ahead: int,
    check: Callable[[], None] = lambda: None,
) -> Iterator[list[_T]]:
    """Lists of 1 to `most` items, in order; of a future, its result.

    A list is handed over when it is full or its first item has waited for `patience` seconds, so
    that many items come together and few do not wait. A thread makes up to `ahead` items meanwhile;
    an error in it is raised here. check: called again and again while nothing comes; may raise.
    """
    queue: Queue[Any] = Queue(ahead)
    stopped = threading.Event()
    thread = threading.Thread(target=_produce, args=(items, queue, stopped), daemon=True)
    thread.start()
    try:
        end = None
        while end is None:
            gathered, end = _gather(queue, most, patience, check)
            if gathered:
                yield gathered
        if end.error is not None:
            raise end.error
    finally:
        stopped.set()
        thread.join(_GRACE)
        while not queue.empty():
            if isinstance(item := queue.get(), Future):
                item.cancel()


def _gather(
    queue: Queue[Any], most: int, patience: float, check: Callable[[], None]
) -> tuple[list[Any], _End | None]:
    found: list[Any] = []
    until = 0.0
    while len(found) < most:
        check()
        try:
            item = queue.get(timeout=max(until - time.monotonic(), 0) if found else _LOOK)
        except Empty:
            if found:
                break
            continue
        if isinstance(item, _End):
            return found, item
        found.append(item.result() if isinstance(item, Future) else item)
        until = until or time.monotonic() + patience
    return found, None


def _produce(
    items: Generator[Any, None, None], queue: Queue[Any], stopped: threading.Event
) -> None:
    """In the thread."""

    def put(item: Any) -> bool:
        while not stopped.is_set():
            try:
                queue.put(item, timeout=_LOOK)
                return True
            except Full:
                continue
        return False

    end = _End(None)
    try:
        for item in items:
            if not put(item):
                break
    except BaseException as error:
        end = _End(error)
    finally:
        items.close()
    put(end)
