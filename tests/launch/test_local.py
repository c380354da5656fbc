"""launch/local.py: several processes on this machine, and what is said when one fails."""

import argparse
import importlib.util
import json
import os
import re
import shlex
import signal
import subprocess
import sys

import pytest

from jaxcnn.files.rundir import lock_directory
from tests.processes import ROOT, command_line
from tests.several import Launched, wait_for

SMALL = (
    "--config", "experiments/digits.py", "--config.model.filters=(4,)", "--config.num_epochs=60",
    "--config.model.convs_per_stage=1",
)  # fmt: skip


def launch(tmp_path, cache_dir, *more):
    line = command_line(*SMALL, *more, "--workdir", tmp_path / "run", cache_dir=cache_dir)
    return Launched(line, tmp_path / "log")


def past_an_evaluation(launched):
    wait_for(lambda: "epoch" in launched.log() or launched.poll() is not None)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--processes=0"], "error: --processes=0: expected 1 or more"),
        (["--processes", "two"], "error: argument --processes: invalid int value: 'two'"),
        (["--devices=2", "--gpus=2"], "error: --devices and --gpus: give one of them"),
        (
            ["--process-id=1"],
            "error: --process-id: is given to each process by this command; leave it out",
        ),
    ],
)
def test_its_own_mistakes_are_one_line(words, expected):
    line = [sys.executable, ROOT / "launch/local.py", *words]
    done = subprocess.run(line, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, expected + "\n")


def test_a_mistake_that_all_processes_make_is_told_once(tmp_path, cache_dir):
    code, log = launch(tmp_path, cache_dir, "--config.bath_size=1").finish()
    assert code == 2
    errors = [line for line in log.splitlines() if "error" in line]
    assert errors == ["error: config.bath_size: no such key (did you mean batch_size?)"]
    assert log.splitlines()[-1] == errors[0]


def test_a_mistake_that_only_the_first_process_meets_is_what_is_told(tmp_path, cache_dir):
    """JAX aborts the other one, which waits for it."""
    with lock_directory(tmp_path / "run"):
        code, log = launch(tmp_path, cache_dir).finish()
    assert code == 2, log
    assert "is training in it; wait until that is done" in log.splitlines()[-1]


def test_sigterm_saves_and_a_death_is_named(tmp_path, cache_dir):
    launched = launch(tmp_path, cache_dir)
    past_an_evaluation(launched)
    launched.send_signal(signal.SIGTERM)
    code, log = launched.finish()
    saved = max(int(path.stem) for path in (tmp_path / "run/checkpoints").glob("*.sha256"))
    again = shlex.join([sys.executable, *launched.line[1:]])
    assert code == 143, log
    assert log.splitlines()[-1] == f"stopped, step {saved} is saved; resume with: {again}"
    assert "Traceback" not in log

    launched = launch(tmp_path, cache_dir)
    past_an_evaluation(launched)
    launched.kill(1)
    code, log = launched.finish()
    assert code == 134, log
    assert f"resuming from step {saved} of" in log
    last = log.splitlines()[-1]
    step = int(re.search(r"step (\d+);", last)[1])
    assert last == f"error: process 1 died (signal 9) at step {step}; start again to resume"
    assert step > saved
    assert "Traceback" not in log and "coordination" not in log


@pytest.mark.slow
def test_a_process_that_hangs_is_named_and_ended(tmp_path, cache_dir):
    launched = launch(tmp_path, cache_dir)
    past_an_evaluation(launched)
    os.kill(launched.pids[1], signal.SIGSTOP)
    code, log = launched.finish()
    assert code == 134, log
    assert log.splitlines()[-1].startswith("error: process 1 hangs at step ")
    with pytest.raises(ProcessLookupError):
        os.kill(launched.pids[1], 0)


@pytest.mark.slow
def test_two_processes_of_four_devices_train_digits(tmp_path, cache_dir):
    line = command_line(
        "--config", "experiments/digits.py", "--workdir", tmp_path / "run", cache_dir=cache_dir
    )
    code, log = Launched(line, tmp_path / "log", devices=4).finish()
    assert code == 0, log
    assert json.loads((tmp_path / "run/eval.json").read_text())["accuracy"] >= 0.988


def test_busy_cores_get_time_to_meet_on_cpus(monkeypatch):
    spec = importlib.util.spec_from_file_location("local", ROOT / "launch/local.py")
    local = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(local)
    options = argparse.Namespace(processes=2, devices=4, gpus=None)
    name = "--xla_cpu_collective_call_terminate_timeout_seconds"
    monkeypatch.setenv("XLA_FLAGS", "")
    assert f"{name}=600" in local._environment(options, 0)["XLA_FLAGS"].split()
    monkeypatch.setenv("XLA_FLAGS", f"{name}=77")
    assert local._environment(options, 0)["XLA_FLAGS"].count(name) == 1
    options = argparse.Namespace(processes=2, devices=None, gpus=2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert local._environment(options, 0)["XLA_FLAGS"] == f"{name}=77"
