"""The queue before a model: batches of what has come, in order, bounded, nothing lost."""

import asyncio
import threading
import time

import numpy as np
import pytest

from jaxcnn.serving.batching import Batcher
from jaxcnn.serving.limits import Refused


def images(*values):
    return np.array(values, np.uint8).reshape(-1, 1, 1, 1)


def served(story, run, **how):
    """The result of a coroutine function that is given a batcher."""
    batcher = Batcher(run, **how)
    batcher.start()

    async def told():
        return await story(batcher)

    try:
        return asyncio.run(told())
    finally:
        batcher.close()


def doubled(image):
    return 2.0 * image[:, 0, 0, 0]


@pytest.mark.parametrize("workers", [1, 3])
def test_every_request_gets_the_answers_to_its_own_images(workers):
    async def story(batcher):
        asked = [images(*range(k, k + 1 + k % 3)) for k in range(100)]
        answers = await asyncio.gather(*(batcher.submit(one) for one in asked))
        for one, found in zip(asked, answers, strict=True):
            np.testing.assert_array_equal(found, doubled(one))
        return batcher.sizes

    sizes = served(story, doubled, most=16, workers=workers)
    assert sum(size * count for size, count in sizes.items()) == sum(1 + k % 3 for k in range(100))
    assert max(sizes) <= 16


def test_what_comes_while_the_model_works_is_its_next_batch():
    first, sizes = threading.Event(), []

    def run(image):
        sizes.append(len(image))
        first.wait(5)
        return doubled(image)

    async def story(batcher):
        futures = [batcher.submit(images(1))]
        while not sizes:
            await asyncio.sleep(0.001)
        futures += [batcher.submit(images(k)) for k in range(5)]
        assert batcher.queued == 5
        first.set()
        await asyncio.gather(*futures)

    served(story, run, most=4)
    assert sizes == [1, 4, 1]


def test_an_image_waits_for_others_no_longer_than_the_delay():
    async def story(batcher):
        begun = time.perf_counter()
        await batcher.submit(images(1))
        alone = time.perf_counter() - begun
        begun = time.perf_counter()
        await asyncio.gather(*(batcher.submit(images(k)) for k in range(8)))
        return alone, time.perf_counter() - begun, dict(batcher.sizes)

    alone, full, sizes = served(story, doubled, most=8, delay=0.3)
    assert 0.3 <= alone < 3 and full < 0.3  # a full batch waits for nobody
    assert sizes == {1: 1, 8: 1}


def test_more_than_may_wait_is_refused_and_a_large_request_alone_is_not():
    hold = threading.Event()

    def run(image):
        hold.wait(5)
        return doubled(image)

    async def story(batcher):
        running = batcher.submit(images(1))
        while batcher.queued:
            await asyncio.sleep(0.001)
        large = batcher.submit(images(*range(20)))  # larger than the queue, which is empty
        with pytest.raises(Refused, match="20 images wait already") as refused:
            batcher.submit(images(1))
        assert refused.value.status == 503 and refused.value.retry_after == 1
        hold.set()
        return await running, await large

    assert len(served(story, run, waiting=10)[1]) == 20


def test_who_does_not_wait_any_more_costs_nothing():
    seen, hold = [], threading.Event()

    def run(image):
        seen.extend(image[:, 0, 0, 0].tolist())
        hold.wait(5)
        return doubled(image)

    async def story(batcher):
        first = batcher.submit(images(1))
        while not seen:
            await asyncio.sleep(0.001)
        left, stays = batcher.submit(images(2)), batcher.submit(images(3))
        left.cancel()
        hold.set()
        await first
        return await stays

    assert served(story, run).tolist() == [6]
    assert seen == [1, 3]


def test_an_error_reaches_those_who_asked_and_nobody_after_them(caplog):
    def run(image):
        if (image == 13).any():
            raise ZeroDivisionError
        return doubled(image)

    async def story(batcher):
        with pytest.raises(Refused) as refused:
            await batcher.submit(images(13))
        assert refused.value.status == 500
        return await batcher.submit(images(4))

    assert served(story, run).tolist() == [8]


def test_closing_answers_what_waits_and_then_refuses():
    def run(image):
        time.sleep(0.05)
        return doubled(image)

    async def story(batcher):
        futures = [batcher.submit(images(k)) for k in range(6)]
        await asyncio.to_thread(batcher.close)
        with pytest.raises(Refused, match="stopping"):
            batcher.submit(images(1))
        return [one.tolist() for one in await asyncio.gather(*futures)]

    assert served(story, run, most=1) == [[2.0 * k] for k in range(6)]


def test_workers_share_what_waits():
    begin, sizes = threading.Event(), []

    def run(image):
        sizes.append(len(image))
        begin.wait(5)
        return doubled(image)

    async def story(batcher):
        futures = [batcher.submit(images(k)) for k in range(2)]
        while len(sizes) < 2:
            await asyncio.sleep(0.001)
        futures += [batcher.submit(images(k)) for k in range(8)]
        begin.set()
        await asyncio.gather(*futures)

    served(story, run, most=32, workers=2)
    assert sizes[:2] == [1, 1] and sizes[2] == 4
