"""Eight CPU devices, a compile cache all tests share, and a way to run commands for real."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

# Before JAX is imported, here and in every process a test starts.
os.environ["JAX_PLATFORMS"] = "cpu"
# Two busy cores may need longer than the 40 s after which XLA aborts to bring 8 devices together.
os.environ["XLA_FLAGS"] = (
    "--xla_force_host_platform_device_count=8 "
    "--xla_cpu_collective_call_terminate_timeout_seconds=600"
)
os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{tempfile.gettempdir()}/jaxcnn-tests-xla-{os.getuid()}"
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"

import pytest

PATIENT = os.environ["XLA_FLAGS"].split()[1]
ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory):
    """A cache of decoded images for this session, not the user's."""
    return tmp_path_factory.mktemp("data-cache")


@pytest.fixture
def command(cache_dir):
    """Runs `python -m jaxcnn.main` as a user would; gives the finished process."""

    def run(*arguments, devices=1, check=None, module="jaxcnn.main", cwd=ROOT):
        done = subprocess.run(
            command_line(*arguments, cache_dir=cache_dir, module=module),
            env=environment(devices),
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if check is not None:
            assert done.returncode == check, done.stderr
        return done

    return run


def command_line(*arguments, cache_dir, module="jaxcnn.main"):
    """A command with the session's data cache, unless it is about a missing --config."""
    line = [sys.executable, "-m", module, *map(str, arguments)]
    if "--config" in arguments:
        line.append(f"--config.data.cache_dir={cache_dir}")
        if module == "jaxcnn.main":
            line.append("--config.report.at_end=False")
    return line


def environment(devices):
    """The environment of a process with so many CPU devices."""
    flag = f"--xla_force_host_platform_device_count={devices} {PATIENT}"
    return os.environ | {"XLA_FLAGS": flag, "PYTHONPATH": str(ROOT)}


@pytest.fixture
def digits(cache_dir):
    """A config that trains a small net on digits for two epochs."""
    return small_digits(cache_dir)


def small_digits(cache_dir):
    from jaxcnn.config import default_config

    config = default_config()
    config.data.source = "digits"
    config.data.cache_dir = str(cache_dir)
    config.batch_size = 64
    config.num_epochs = 2.0
    config.model.filters = (8, 16)
    config.model.convs_per_stage = 1
    config.augment = (("crop", 1),)
    config.report.at_end = False
    return config


@pytest.fixture(scope="session")
def workdir(tmp_path_factory, cache_dir):
    """A finished run on digits, with its report, that has learned something and makes mistakes.

    Tests that change something in it copy it first.
    """
    from jaxcnn.train import train

    config = small_digits(cache_dir)
    config.augment = ()
    config.optimizer.learning_rate = 0.01
    config.report.at_end = True
    folder = tmp_path_factory.mktemp("run")
    train(config, folder)
    return folder


@pytest.fixture(scope="session")
def assessment(workdir):
    """What is known of that run's model on its test data."""
    from jaxcnn.assessment import assess, find_data
    from jaxcnn.trained import load_trained

    trained = load_trained(workdir)
    return assess(trained, find_data(trained))


@pytest.fixture
def shared():
    """The folder of real data beside the project."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data here")
    return SHARED
