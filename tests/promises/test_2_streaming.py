"""Promise 2 holds wherever the images wait: in memory, on the device or on disk."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests.conftest import ROOT, command_line, environment
from tests.promises.test_2_clock import assert_same_run, finish, wait_for

ARGUMENTS = (
    "--config", "experiments/digits.py", "--config.data.source=folder",
    "--config.data.image_size=24", "--config.num_epochs=8", "--config.batch_size=16",
    "--config.model.filters=(8,16)",
    "--config.model.pool_first=True", "--config.augment=('flip',)",
)  # fmt: skip


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    import cv2

    folder = tmp_path_factory.mktemp("photos")
    random = np.random.default_rng(0)
    for name in ("dark", "light"):
        (folder / name).mkdir()
        for i in range(60):
            image = random.integers(0, 200, (40, 50, 3)) + (50 if name == "light" else 0)
            cv2.imwrite(str(folder / name / f"{i}.jpg"), image.astype(np.uint8))
    return folder


@pytest.fixture
def start(photos, cache_dir):
    def run(workdir, *flags, devices=1):
        return subprocess.Popen(
            command_line(
                *ARGUMENTS, f"--config.data.dir={photos}", "--workdir", workdir, *flags,
                cache_dir=cache_dir,
            ),
            env=environment(devices),
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip

    return run


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory):
    return tmp_path_factory.mktemp("in-memory")


@pytest.mark.parametrize("mode", ["stream", "device"])
def test_a_run_killed_in_another_mode_ends_in_the_same_parameters(mode, start, in_memory, tmp_path):
    if not (in_memory / "eval.json").exists():
        code, log = finish(start(in_memory, "--config.data.mode=memory"))
        assert code == 0, log
        assert "in memory" in log
    process = start(tmp_path, f"--config.data.mode={mode}")
    wait_for(lambda: list((tmp_path / "checkpoints").glob("*.sha256")), process)
    process.send_signal(signal.SIGKILL)
    assert finish(process)[0] == -signal.SIGKILL
    assert not (tmp_path / "eval.json").exists(), "killed too late to test anything"
    code, log = finish(start(tmp_path, f"--config.data.mode={mode}"))
    assert code == 0, log
    assert "resuming from step" in log
    assert_same_run(tmp_path, in_memory)


def test_random_crops_of_files_resume_exactly(start, tmp_path):
    flags = ("--config.data.crop_scale=(0.2,1.0)", "--config.data.sampling=balanced")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    code, log = finish(start(whole, *flags))
    assert code == 0 and "streamed from disk" in log, log
    process = start(killed, *flags)
    wait_for(lambda: list((killed / "checkpoints").glob("*.sha256")), process)
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 143
    code, log = finish(start(killed, *flags))
    assert code == 0, log
    assert_same_run(killed, whole)


def test_the_mode_may_change_on_resume(start, in_memory, tmp_path):
    process = start(tmp_path, "--config.data.mode=stream")
    wait_for(lambda: list((tmp_path / "checkpoints").glob("*.sha256")), process)
    process.send_signal(signal.SIGTERM)
    assert finish(process)[0] == 143
    code, log = finish(start(tmp_path, "--config.data.mode=device", devices=2))
    assert code == 0, log
    assert "config.data.mode was 'stream', is 'device' now" in log
    assert json.loads((tmp_path / "eval.json").read_text())["num_examples"] == 24


TWENTY_GB = """
from pathlib import Path
from jaxcnn.build import build_dataset, build_sampling
from jaxcnn.config import default_config, resolve
from jaxcnn.data.pipeline import train_batches
from jaxcnn.data.splits import describe

config = default_config()
config.num_steps = 1
config.data.source, config.data.num_examples = "synthetic", 133_000
config.data.image_size, config.data.mode = 224, "stream"
config = resolve(config)
dataset = build_dataset(config)
split = dataset.splits["train"]
batches = train_batches(split, build_sampling(config, split), 0, range(30), 64)
print(sum(int(batch["image"].sum()) for batch in batches) > 0)
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


def test_twenty_gigabytes_stream_through_one():
    """133,000 images of 224x224x3 bytes; sparse, as they are made when they are read."""
    done = subprocess.run(
        [sys.executable, "-c", TWENTY_GB], capture_output=True, text=True, env=environment(1)
    )
    assert done.returncode == 0, done.stderr
    worked, kilobytes = done.stdout.split()
    assert worked == "True"
    assert int(kilobytes) < 1_000_000


TRAIN = """
from pathlib import Path
import sys
from jaxcnn.config import default_config
from jaxcnn.train import train

config = default_config()
config.num_steps, config.batch_size = 20, 64
config.data.source, config.data.num_examples = "synthetic", 133_000
config.data.image_size, config.data.mode = 224, "stream"
config.model.filters, config.model.strides = (4, 8), 4
train(config, sys.argv[1])
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


@pytest.mark.slow
def test_training_on_twenty_gigabytes_stays_under_two(tmp_path):
    """The whole of it: 20 steps, validation on 13,300 images, the test on 33,250."""
    done = subprocess.run(
        [sys.executable, "-c", TRAIN, str(tmp_path)],
        capture_output=True,
        text=True,
        env=environment(1),
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 2_000_000
