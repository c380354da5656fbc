"""metrics.jsonl and TensorBoard."""

import json
import subprocess
import sys

import pytest

from jaxcnn.runtime.stderr import without_lines
from jaxcnn.runtime.writers import MetricWriter


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


def test_without_tensorflow_there_is_one_warning_and_the_numbers_are_kept(tmp_path):
    """In a process where importing TensorFlow fails."""
    script = f"""
import sys
sys.modules["tensorflow"] = None
from pathlib import Path
from jaxcnn.runtime.progress import setup_logging
from jaxcnn.runtime.writers import MetricWriter
setup_logging()
writer = MetricWriter(Path({str(tmp_path)!r}), 0)
writer.start()
writer.start()
writer.write(1, 1, "train", {{"loss": 0.5}})
writer.close()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("warning: no TensorBoard files: ") == 1
    assert len(lines(tmp_path)) == 1


def test_known_noise_is_left_out_of_stderr_and_nothing_else(capfd):
    import os

    with without_lines((b"noise",)):
        os.write(2, b"some noise here\n")
        os.write(2, b"a message\n")
    os.write(2, b"noise afterwards passes\n")
    assert capfd.readouterr().err == "a message\nnoise afterwards passes\n"
