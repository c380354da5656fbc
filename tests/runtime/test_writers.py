"""metrics.jsonl and TensorBoard."""

import json
import subprocess
import sys
import time

import numpy as np
import pytest

from jaxcnn.runtime.progress import setup_logging
from jaxcnn.runtime.writers import MetricWriter
from tests.conftest import ROOT


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


def test_tensorboard_gets_the_same_numbers(tmp_path):
    pytest.importorskip("tensorflow", reason="no TensorFlow here")
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    writer = MetricWriter(tmp_path, resume_step=0)
    writer.write(1, 1, "train", {"loss": 0.5})  # before TensorFlow is there
    writer.start()
    writer.write(2, 2, "train", {"loss": 0.25})
    writer.write(2, 2, "validation", {"accuracy": 0.75})
    writer.close()
    events = loader.EventAccumulator(str(tmp_path), size_guidance={"tensors": 0})
    events.Reload()
    from tensorboard.util.tensor_util import make_ndarray

    def scalars(tag):
        return [(e.step, float(make_ndarray(e.tensor_proto))) for e in events.Tensors(tag)]

    assert scalars("train/loss") == [(1, 0.5), (2, 0.25)]
    assert scalars("validation/accuracy") == [(2, 0.75)]


def test_without_tensorflow_there_is_one_warning_and_the_numbers_are_kept(
    tmp_path, monkeypatch, capsys
):
    """The writer's process finds a TensorFlow that cannot be imported."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "tensorflow.py").write_text("raise ImportError('not built for this')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    setup_logging()
    writer = MetricWriter(tmp_path, resume_step=0)
    writer.start()
    writer.start()
    writer.write(1, 1, "train", {"loss": 0.5})
    writer.close()
    told = capsys.readouterr().err
    assert told.count("warning: no TensorBoard files: ImportError: not built for this") == 1
    assert len(lines(tmp_path)) == 1


def test_tensorboard_keeps_what_a_killed_run_had_written(tmp_path):
    pytest.importorskip("tensorflow", reason="no TensorFlow here")
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    script = (
        "import os, sys\nfrom pathlib import Path\n"
        "from jaxcnn.runtime.writers import MetricWriter\n"
        "writer = MetricWriter(Path(sys.argv[1]), 0)\nwriter.start()\n"
        "writer.write(5, 1, 'train', {'loss': 0.5})\nos.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], cwd=ROOT)
    end = time.monotonic() + 60
    steps = []
    while not steps and time.monotonic() < end:
        time.sleep(0.5)
        events = loader.EventAccumulator(str(tmp_path), size_guidance={"tensors": 0})
        events.Reload()
        if "train/loss" in events.Tags()["tensors"]:
            steps = [event.step for event in events.Tensors("train/loss")]
    assert steps == [5]


def test_a_disk_that_refuses_is_one_line_and_ends_the_writer(tmp_path):
    """In a process that may not write files any larger."""
    script = (
        "import resource, signal, sys\nfrom pathlib import Path\n"
        "from jaxcnn.errors import UserError\n"
        "from jaxcnn.runtime.writers import MetricWriter\n"
        "writer = MetricWriter(Path(sys.argv[1]), 0)\nwriter.start()\n"
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


def test_tensorboard_shows_pictures_histograms_and_the_config(tmp_path):
    pytest.importorskip("tensorflow", reason="no TensorFlow here")
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    import cv2

    picture = np.zeros((4, 6, 3), np.uint8)
    writer = MetricWriter(tmp_path, resume_step=0)
    writer.write_hparams({"optimizer.name": "sgd", "augment": (("crop", 4),), "model.dense": None})
    writer.write_images(7, {"report/confusion_matrix": cv2.imencode(".png", picture)[1].tobytes()})
    writer.write_histograms(7, {"params/kernel": np.arange(50_000.0).reshape(5, -1)})
    writer.start()
    writer.close()
    events = loader.EventAccumulator(str(tmp_path), size_guidance={"tensors": 0})
    events.Reload()
    tags = events.Tags()["tensors"]
    assert {"report/confusion_matrix", "params/kernel"} <= {*tags}
    (image,) = events.Tensors("report/confusion_matrix")
    assert image.step == 7
    assert image.tensor_proto.string_val[:2] == [b"6", b"4"]  # width and height
    content = events.summary_metadata.keys() | set(tags)
    assert any("hparams" in tag for tag in content)
