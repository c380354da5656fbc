"""Benchmarks against peers still run, and compare like with like. Slow: they compile a lot."""

import os
import re
import subprocess
import sys

import pytest

from tests.processes import ROOT

pytestmark = pytest.mark.slow

FLAX = "Flax and tf.data"


def run(script, *arguments):
    line = [sys.executable, f"benchmarks/{script}.py", *arguments, "--networks", "cnn"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, timeout=600)


def rows(printed):
    """{the first cell of a row: its other cells} of the tables in what was printed."""
    lines = [line.strip("| ").split(" | ") for line in printed.splitlines() if line[:2] == "| "]
    return {first: rest for first, *rest in lines}


def test_plain_flax_and_keras_train_the_network_of_jaxcnn_with_the_same_losses():
    pytest.importorskip("tensorflow")
    peers = ["jaxcnn", FLAX, "Keras on TensorFlow"]
    little = ["--batch-size", "16", "--steps", "1", "--rounds", "1"]
    ended = run("train_step", *little, "--huge-pages", "--peers", *peers)
    assert ended.returncode == 0, ended.stderr
    assert re.search(r"^Huge pages .* all\.$", ended.stdout, re.M)
    assert "All 3 give the same logits" in ended.stdout
    assert [name for name in rows(ended.stdout) if name in peers] == peers
    assert rows(ended.stdout)["jaxcnn"][1] == "1.00x"


def test_evaluation_is_timed_beside_training():
    ended = run("evaluation", "--batch-size", "16", "--rounds", "1")
    assert ended.returncode == 0, ended.stderr
    training, evaluation, *_ = map(float, rows(ended.stdout)["cnn"][:2])
    assert evaluation > training > 0


def test_an_exported_model_is_timed_and_who_is_not_installed_is_left_out():
    ended = run("latency", "--rounds", "1")
    assert ended.returncode == 0, ended.stderr
    assert rows(ended.stdout)["cnn: model.onnx in onnxruntime"][1] == "1.00x"
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError:
        (told,) = rows(ended.stdout)["cnn: PyTorch, inference_mode"]
        assert told == "not measured: torch is not installed"
