"""Items that are prefetched come in order, many together, and an end is an end."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from jaxcnn.inference.prediction import prefetch


def test_items_and_results_come_in_order_in_full_lists():
    def late(k):
        time.sleep(0.02 if k % 7 == 0 else 0)
        return k

    with ThreadPoolExecutor(4) as pool:
        items = (pool.submit(late, k) if k % 2 else k for k in range(100))
        lists = list(prefetch(items, 8, patience=10, ahead=16))
    assert [k for one in lists for k in one] == list(range(100))
    assert [len(one) for one in lists] == [8] * 12 + [4]


def test_an_item_waits_no_longer_than_patience_allows():
    go_on = threading.Event()

    def items():
        yield "first"
        go_on.wait(20)
        yield "second"

    lists = prefetch(items(), 8, patience=0.05, ahead=16)
    assert next(lists) == ["first"]
    go_on.set()
    assert list(lists) == [["second"]]


def test_no_more_is_made_than_is_asked_for_and_leaving_ends_the_thread():
    made, closed = [], threading.Event()

    def items():
        try:
            for k in range(1000):
                made.append(k)
                yield k
        finally:
            closed.set()

    lists = prefetch(items(), 4, patience=1, ahead=8)
    next(lists)
    time.sleep(0.3)
    assert len(made) <= 4 + 8 + 1
    lists.close()
    assert closed.wait(5)


def test_an_error_in_the_thread_is_raised_after_what_came_before():
    def items():
        yield 1
        raise KeyError("lost")

    lists = prefetch(items(), 8, patience=10, ahead=8)
    assert next(lists) == [1]
    with pytest.raises(KeyError, match="lost"):
        next(lists)
