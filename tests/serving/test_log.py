"""The log of requests: JSON lines, and never a reason to wait."""

import io
import json
import os
import time

from jaxcnn.serving.log import Log


def test_lines_are_json_whatever_a_client_asks_for():
    out = io.StringIO()
    log = Log(out)
    log.write({"path": '/a\n"b\u2028\x1b', "status": 404})
    log.write({"path": "/", "status": 200})
    log.close()
    first, second = out.getvalue().splitlines()
    assert json.loads(first)["path"] == '/a\n"b\u2028\x1b' and first.isascii()
    assert json.loads(second) == {"path": "/", "status": 200}


def test_a_reader_who_stops_reading_keeps_nobody_waiting():
    reading, writing = os.pipe()
    with open(reading, "rb"), open(writing, "w") as out:  # noqa: PTH123  (descriptors, no paths)
        log = Log(out)
        begun = time.perf_counter()
        for _ in range(20_000):
            log.write({"path": "x" * 100})  # 2 MB, and the pipe holds 64 kB
        assert time.perf_counter() - begun < 2
        time.sleep(0.3)
        for _ in range(20_000):
            log.write({"path": "x" * 100})
        begun = time.perf_counter()
        log.close(0.2)
        assert time.perf_counter() - begun < 2
        os.set_blocking(reading, False)
        while True:  # lets the thread end before its file is closed
            try:
                if not os.read(reading, 2**20):
                    break
            except BlockingIOError:
                log.close(0.05)
                if not log._thread.is_alive():
                    break
