"""What a user sees while a run goes on."""

import fcntl
import logging
import os
import pty
import struct
import subprocess
import sys
import termios

from jaxcnn.runtime import progress
from tests.processes import ROOT

SCRIPT = """
import time
from jaxcnn.runtime.progress import Progress, setup_logging
setup_logging()
with Progress(40, 0, 10) as bar:
    bar.report(1, 2.5)
    for step in range(2, 30):
        time.sleep(0.05)
        if bar.due():
            bar.report(step, 1.5)
"""


def test_a_terminal_gets_a_bar_with_loss_speed_and_time_left():
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen([sys.executable, "-c", SCRIPT], cwd=ROOT, stderr=slave)
    os.close(slave)
    seen = b""
    while True:
        try:
            chunk = os.read(master, 4096)
        except OSError:  # the other end is closed
            break
        seen += chunk
    os.close(master)
    assert process.wait() == 0
    text = seen.decode()
    assert "step 1 · loss 2.5000" in text
    bars = [line for line in text.split("\r") if "images/s" in line]
    assert bars and "loss 1.5000" in bars[-1] and "/40" in bars[-1]
    assert max(map(len, bars)) <= 110


def test_elsewhere_there_is_a_line_every_few_seconds(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    progress.setup_logging()
    with progress.Progress(num_steps=100, start_step=20, batch_size=8) as lines:
        lines.report(21, 2.0)
        assert lines.due()
        lines.report(60, 1.0)
        train, validation = {"loss": 1.0, "accuracy": 0.5}, {"loss": 2.0, "accuracy": 0.25}
        lines.note(60, 3.0, {0: train}, {0: validation})
    first, second, third = capsys.readouterr().err.splitlines()
    assert first.startswith("step 21 · loss 2.0000 · ")
    assert second.startswith("step 60 of 100 · loss 1.0000 · ") and second.endswith(" left")
    assert third == (
        "epoch 3 · step 60 · train loss 1.0000, accuracy 50.00% · "
        "validation loss 2.0000, accuracy 25.00%"
    )


def test_logging_is_set_up_once():
    progress.setup_logging()
    progress.setup_logging()
    kinds = [type(handler) for handler in logging.getLogger("jaxcnn").handlers]
    assert kinds.count(progress._Handler) == 1


def test_the_first_step_told_again_says_nothing_more(caplog):
    progress.setup_logging()
    with caplog.at_level("INFO", "jaxcnn"), progress.Progress(40, 0, 10) as lines:
        lines.report(1, 2.5)
        lines.report(1, 2.5)
        lines.report(3, 1.5)
    assert [line.split(" · ")[0] for line in caplog.messages] == ["step 1", "step 3 of 40"]
