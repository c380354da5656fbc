"""Commands as processes of their own, begun as a user begins them, or forked.

Importing Python's, JAX's and our modules costs each command a second or more. A forked one begins
where that is done: a server has imported them, and each command is a child of it, with a process
id, devices, signals, streams and an exit code of its own.
"""

import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Two busy cores may need longer than the 40 s after which XLA aborts to bring 8 devices together.
PATIENT = "--xla_cpu_collective_call_terminate_timeout_seconds=600"

# Each training run starts a process that imports TensorFlow, which costs more than these runs do
# themselves. So it is hidden from them, as if it were not installed, but where a test is about it.
# (pytest's workers are given the path that this file has set in the process that starts them.)
_HIDING = str(ROOT / "tests/without_tensorflow")
_GIVEN = os.environ.get("PYTHONPATH", "").split(os.pathsep)
WITH_TENSORFLOW = os.pathsep.join([str(ROOT), *(p for p in _GIVEN if p not in ("", _HIDING))])
WITHOUT_TENSORFLOW = _HIDING + os.pathsep + WITH_TENSORFLOW

# The commands themselves are not among them: each child runs its own, as `__main__`.
_FORKS = multiprocessing.get_context("forkserver")
_PRELOADED = (
    "jaxcnn.checking.check", "jaxcnn.cli.process", "jaxcnn.training.train", "jaxcnn.search.tune",
    "cv2", "optuna", "orbax.checkpoint", "sklearn.datasets",
)  # fmt: skip
_FORKS.set_forkserver_preload(list(_PRELOADED))


def command_line(*arguments, cache_dir, module="jaxcnn.main"):
    """A command with the session's data cache and no report, unless it is about --config itself."""
    line = [sys.executable, "-m", module, *map(str, arguments)]
    if "--config" in arguments:
        line.append(f"--config.data.cache_dir={cache_dir}")
        if module == "jaxcnn.main":
            line.append("--config.report.at_end=False")
    return line


def environment(devices, tensorflow=False):
    """The environment of a process with so many CPU devices."""
    flags = f"--xla_force_host_platform_device_count={devices} {PATIENT}"
    path = WITH_TENSORFLOW if tensorflow else WITHOUT_TENSORFLOW
    # Keras, once a test has imported it, leaves its choice here; a user's process makes its own.
    own = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    return own | {"XLA_FLAGS": flags, "PYTHONPATH": path}


def start(line, devices=1, *, fresh=False, tensorflow=False, cwd=ROOT):
    """Starts a `command_line`; what comes back is a `subprocess.Popen` or answers like one.

    fresh: as a user would, from the interpreter on; else it is forked.
    """
    env = environment(devices, tensorflow)
    if not fresh:
        return Forked(line[2:], env, cwd)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(line, env=env, cwd=cwd, **streams)


def finish(process, timeout=300):
    """(exit code, stdout, stderr) when it has ended."""
    stdout, stderr = process.communicate(timeout=timeout)
    return process.returncode, stdout, stderr


class Forked:
    """`python -m MODULE *ARGUMENTS` in a process forked from the server."""

    def __init__(self, arguments, env, cwd):
        self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self._streams = [Path(self._folder.name, name) for name in ("stdout", "stderr")]
        given = arguments, dict(env), str(cwd), [str(path) for path in self._streams]
        self._process = _FORKS.Process(target=_run, args=given)
        self._process.start()

    @property
    def pid(self):
        return self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    def poll(self):
        return self.returncode

    def send_signal(self, number):
        os.kill(self._process.pid, number)

    def communicate(self, timeout=None):
        self._process.join(timeout)
        if self.returncode is None:
            self._process.kill()
            raise subprocess.TimeoutExpired("a forked command", timeout)
        stdout, stderr = (path.read_text() for path in self._streams)
        self._folder.cleanup()
        return stdout, stderr


def _run(arguments, env, cwd, streams):
    """In the child."""
    for descriptor, path in enumerate(streams, 1):
        file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(file, descriptor)
        os.close(file)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    module, *sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)
