"""metrics.jsonl and TensorBoard."""

import json
import struct
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxcnn.errors import UserError
from jaxcnn.files.rundir import metric_lines
from jaxcnn.runtime.progress import setup_logging
from jaxcnn.runtime.writers import MetricWriter, TensorBoard
from tests.processes import ROOT, environment


def tensors(workdir):
    """[(step, tag, tensor)] in event files, whose records are length, checksum, event, checksum.

    Read without TensorFlow, which would fill the memory of this process to its end.
    """
    from tensorboard.compat.proto.event_pb2 import Event

    found = []
    for file in workdir.glob("events.out.tfevents.*"):
        content, place = file.read_bytes(), 0
        while place + 16 <= len(content):
            (length,) = struct.unpack_from("<Q", content, place)
            if place + 16 + length > len(content):
                break  # it is still being written
            event = Event.FromString(content[place + 12 : place + 12 + length])
            found += [(event.step, value.tag, value.tensor) for value in event.summary.value]
            place += 16 + length
    return found


def scalars(workdir):
    """[(step, tag, value)] of single numbers."""
    singles = [scalar for scalar in tensors(workdir) if len(scalar[2].tensor_content) == 4]
    return [
        (step, tag, *np.frombuffer(t.tensor_content, "<f4").tolist()) for step, tag, t in singles
    ]


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_a_line_is_on_disk_as_soon_as_it_is_written(tmp_path):
    writer = MetricWriter(tmp_path, resume_step=0)
    writer.write(3, 0.5, "train", {"loss": 1.5})
    assert lines(tmp_path) == [{"step": 3, "epoch": 0.5, "split": "train", "loss": 1.5}]
    writer.close()


def test_resuming_cuts_off_what_came_after_the_checkpoint(tmp_path):
    writer = MetricWriter(tmp_path, resume_step=0)
    for step in (1, 2, 3):
        writer.write(step, step, "train", {"loss": 0.0})
    writer.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "epo')  # the process was killed while writing
    writer = MetricWriter(tmp_path, resume_step=2)
    writer.write(3, 3, "train", {"loss": 9.0})
    writer.close()
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [(1, 0), (2, 0), (3, 9)]


def test_without_tensorflow_there_is_one_warning_and_the_numbers_are_kept(tmp_path, capsys):
    """As everywhere in these tests, the writer's process finds one that cannot be imported."""
    setup_logging()
    tensorboard = TensorBoard()
    writer = MetricWriter(tmp_path, 0, tensorboard)
    tensorboard.start()
    tensorboard.start()
    writer.write(1, 1, "train", {"loss": 0.5})
    writer.close()
    tensorboard.close()
    told = capsys.readouterr().err
    assert told.count("warning: no TensorBoard files: ImportError: hidden from this test") == 1
    assert len(lines(tmp_path)) == 1


KILLED = """
import os, sys
from pathlib import Path
import cv2
import numpy as np
from jaxcnn.files.rundir import metric_lines
from jaxcnn.runtime.writers import MetricWriter, TensorBoard

workdir, tensorboard = Path(sys.argv[1]), TensorBoard()
writer = MetricWriter(workdir, 0, tensorboard)
writer.write(1, 1, "train", {"loss": 0.5})
config = {"optimizer.name": "sgd", "augment": (("crop", 4),), "model.dense": None}
tensorboard.hparams(workdir, config)
tensorboard.start()
picture = cv2.imencode(".png", np.zeros((4, 6, 3), np.uint8))[1].tobytes()
tensorboard.images(workdir, 7, {"report/confusion_matrix": picture})
tensorboard.histograms(workdir, 7, {"params/kernel": np.arange(50_000.0).reshape(5, -1)})
writer.write(8, 2, "train", {"loss": 0.25})
writer.write(8, 2, "validation", {"accuracy": 0.75})
os.kill(os.getpid(), 9)
"""


@pytest.fixture(scope="module")
def killed(has_tensorflow, tmp_path_factory):
    """The directory of a run that was killed before TensorFlow can have been there."""
    workdir = tmp_path_factory.mktemp("killed")
    env = environment(1, tensorflow=True)
    subprocess.run([sys.executable, "-c", KILLED, str(workdir)], cwd=ROOT, env=env)
    end = time.monotonic() + 60
    while len(scalars(workdir)) < 3 and time.monotonic() < end:
        time.sleep(0.1)
    return workdir


def test_tensorboard_gets_the_same_numbers_also_of_a_run_that_is_killed(killed):
    """How a run that is not killed waits for them: test_train.py."""
    assert scalars(killed) == [
        (1, "train/loss", 0.5), (8, "train/loss", 0.25), (8, "validation/accuracy", 0.75)
    ]  # fmt: skip


def test_tensorboard_shows_pictures_histograms_and_the_config(killed):
    found = {tag: (step, tensor) for step, tag, tensor in tensors(killed)}
    step, picture = found["report/confusion_matrix"]
    assert step == 7
    assert picture.string_val[:2] == [b"6", b"4"]  # width and height
    assert found["params/kernel"][0] == 7
    assert any("hparams" in tag for tag in found)


def test_more_runs_than_a_process_may_open_files_are_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", environment(1, tensorflow=True)["PYTHONPATH"])
    board = TensorBoard()
    runs = [tmp_path / str(number) for number in range(70)]
    for step in (1, 2):
        for run in runs:
            board.scalars(run, step, {"loss": float(step)})
    board.start()
    board.close()
    for run in (runs[0], runs[-1]):
        assert sorted(scalars(run)) == [(1, "loss", 1.0), (2, "loss", 2.0)]
    assert len(list(runs[0].glob("events.out.tfevents.*"))) == 2


def test_a_disk_that_refuses_is_one_line_and_ends_the_writer(tmp_path):
    """In a process that may not write files any larger."""
    script = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from jaxcnn.errors import UserError\n"
        "from jaxcnn.runtime.writers import MetricWriter\n"
        "writer = MetricWriter(Path(sys.argv[1]), 0)\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
        "try:\n    writer.write(1, 1, 'train', {'loss': 0.5})\n"
        "except UserError as error:\n    print(error)\n"
        "try:\n    writer.close()\nexcept UserError:\n    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "metrics.jsonl: cannot be written (File too large)" in done.stdout


def test_a_damaged_line_is_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"st\n{"step": 3}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl: line 2 is damaged; delete that line"):
        MetricWriter(tmp_path, 3)
    with pytest.raises(UserError, match="line 2 is damaged"):
        metric_lines(tmp_path)
