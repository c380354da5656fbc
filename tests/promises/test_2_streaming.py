"""Promise 2 holds wherever the images wait: in memory, on the device or on disk."""

import json
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest

from tests import processes
from tests.processes import command_line, environment
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


@pytest.fixture(scope="module")
def start(photos, cache_dir):
    def run(workdir, *flags, devices=1):
        flags = (*ARGUMENTS, f"--config.data.dir={photos}", "--workdir", workdir, *flags)
        return processes.start(command_line(*flags, cache_dir=cache_dir), devices)

    return run


def stop(process, workdir, number):
    """Sends a signal as soon as there is a checkpoint; the exit code."""
    wait_for(lambda: list((workdir / "checkpoints").glob("*.sha256")), process)
    process.send_signal(number)
    code, _ = finish(process)
    assert not (workdir / "eval.json").exists(), "stopped too late to test anything"
    return code


@pytest.fixture(scope="module")
def in_memory(start, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("in-memory")
    code, log = finish(start(workdir, "--config.data.mode=memory"))
    assert code == 0, log
    assert "in memory" in log
    return workdir


@pytest.mark.parametrize(("mode", "other"), [("stream", "device"), ("device", "stream")])
def test_a_run_killed_in_one_mode_ends_in_the_same_parameters_in_another(
    mode, other, start, in_memory, tmp_path
):
    killed, on_two = tmp_path / "killed", tmp_path / "on-two"
    assert stop(start(killed, f"--config.data.mode={mode}"), killed, signal.SIGKILL) == -9
    shutil.copytree(killed, on_two)

    code, log = finish(start(killed, f"--config.data.mode={other}"))
    assert code == 0, log
    assert "resuming from step" in log
    assert f"config.data.mode was '{mode}', is '{other}' now" in log
    assert_same_run(killed, in_memory)

    if other == "device":  # and on more devices it ends, too
        code, log = finish(start(on_two, "--config.data.mode=device", devices=2))
        assert code == 0, log
        assert json.loads((on_two / "eval.json").read_text())["num_examples"] == 24


def test_random_crops_of_files_resume_exactly(start, tmp_path):
    flags = ("--config.data.crop_scale=(0.2,1.0)", "--config.data.sampling=balanced")
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    code, log = finish(start(whole, *flags))
    assert code == 0 and "streamed from disk" in log, log
    assert stop(start(stopped, *flags), stopped, signal.SIGTERM) == 143
    code, log = finish(start(stopped, *flags))
    assert code == 0, log
    assert_same_run(stopped, whole)


TWENTY_GB = """
from pathlib import Path
from jaxcnn.builders.data import build_dataset, build_sampling
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
from jaxcnn.training.train import train

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
