"""Eight CPU devices, a compile cache all tests share, and a way to run commands for real."""

import ctypes
import importlib.util
import os
import subprocess
import tempfile

import pytest

from tests.processes import (
    PATIENT,
    ROOT,
    WITH_TENSORFLOW,
    WITHOUT_TENSORFLOW,
    command_line,
    finish,
    start,
)

# Before JAX is imported, here and in every process a test starts.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count=8 {PATIENT}"
os.environ["JAX_COMPILATION_CACHE_DIR"] = f"{tempfile.gettempdir()}/jaxcnn-tests-xla-{os.getuid()}"
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"
os.environ["PYTHONPATH"] = WITHOUT_TENSORFLOW

SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(autouse=True, scope="module")
def forget_what_was_compiled():
    """Compiled functions of 8 devices, kept to the end, would fill gigabytes."""
    import jax

    yield
    jax.clear_caches()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)  # glibc keeps what the compiler has freed in many small pieces


@pytest.fixture(scope="session")
def has_tensorflow():
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("no TensorFlow here")


@pytest.fixture
def tensorflow(has_tensorflow, monkeypatch):
    """Processes that this test starts find TensorFlow."""
    monkeypatch.setenv("PYTHONPATH", WITH_TENSORFLOW)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory):
    """A cache of decoded images for this session, not the user's."""
    return tmp_path_factory.mktemp("data-cache")


@pytest.fixture
def command(cache_dir):
    """Runs a command, `jaxcnn train` if not told otherwise, and gives what it has left:
    its returncode, stdout and stderr. check: the exit code it must have; for other keywords see
    `start`.
    """

    def run(*arguments, check=None, module="jaxcnn.main", **how):
        line = command_line(*arguments, cache_dir=cache_dir, module=module)
        done = subprocess.CompletedProcess(line, *finish(start(line, **how)))
        if check is not None:
            assert done.returncode == check, done.stderr
        return done

    return run


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
    from jaxcnn.training.train import train

    config = small_digits(cache_dir)
    config.augment = ()
    config.optimizer.learning_rate = 0.01
    config.report.at_end = True
    folder = tmp_path_factory.mktemp("run")
    train(config, folder)
    return folder


@pytest.fixture(scope="session")
def numbers():
    """Images of digits, uint8[1797, 8, 8, 1]."""
    import numpy as np

    from jaxcnn.data import SOURCES

    images, _ = SOURCES["digits"]()["train"].read(np.arange(1797))
    return np.stack(images)


@pytest.fixture(scope="session")
def assessment(workdir):
    """What is known of that run's model on its test data."""
    from jaxcnn.evaluation.assess import assess, find_data
    from jaxcnn.inference.trained import load_trained

    trained = load_trained(workdir)
    return assess(trained, find_data(trained))


@pytest.fixture
def shared():
    """The folder of real data beside the project."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared/data here")
    return SHARED
