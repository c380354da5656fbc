"""Runs of several processes, as commands: a pair without a supervisor, or under launch/local.py."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time

from tests import processes
from tests.processes import ROOT


def start_pair(line, devices=1, heartbeat=60):
    """A `command_line` as two processes, forked, that nobody looks after.

    heartbeat: seconds of silence (a crowded machine makes them too) that one counts as dead after.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    where = [f"--coordinator={address}", "--num-processes=2", f"--heartbeat-seconds={heartbeat}"]
    return [processes.start([*line, *where, f"--process-id={i}"], devices) for i in range(2)]


class Launched:
    """`launch/local.py` with two processes; pids: theirs."""

    def __init__(self, line, log, devices=1):
        """line: a `command_line` of jaxcnn.main. log: the file its stderr goes to."""
        own = ["--processes", "2", "--devices", str(devices), "--heartbeat-seconds=10"]
        self.line = [sys.executable, str(ROOT / "launch/local.py"), *own, *line[3:]]
        self._log = log
        with log.open("w") as file:
            env = processes.environment(devices)
            self._process = subprocess.Popen(self.line, env=env, cwd=ROOT, stderr=file)
        wait_for(lambda: "processes: " in self.log() or self.poll() is not None)
        found = re.search(r"processes: (\d+), (\d+)", self.log())
        self.pids = [int(pid) for pid in found.groups()] if found else []

    def log(self):
        return self._log.read_text()

    def poll(self):
        return self._process.poll()

    def send_signal(self, number):
        self._process.send_signal(number)

    def kill(self, *numbers):
        for number in numbers:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pids[number], signal.SIGKILL)

    def finish(self, timeout=600):
        """(exit code, its stderr)"""
        return self._process.wait(timeout), self.log()


def wait_for(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not get there"
        time.sleep(0.01)
