"""Several processes: what they are told by flags and schedulers, and what becomes of mistakes."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from jax.experimental import multihost_utils

from jaxcnn.errors import UserError
from jaxcnn.files.rundir import lock_directory
from jaxcnn.runtime.distributed import check_alike, connect, count_processes, is_about_others
from jaxcnn.runtime.writers import disk_errors

DIGITS = ("--config", "experiments/digits.py")
SLURM = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "n[1-2]", "SLURM_PROCID": "1"}


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ((None, 2, None), "--num-processes=2: give --coordinator=HOST:PORT too, the address of"),
        ((None, None, 1), "--process-id=1: give --coordinator=HOST:PORT too, the address of"),
        (("auto", 2, None), "--num-processes=2: --coordinator=auto finds it out; leave it out"),
        (("node1", 2, 0), "--coordinator=node1: expected HOST:PORT, the address of process 0 and"),
        (("node1:x", 2, 0), "--coordinator=node1:x: expected HOST:PORT"),
        (("node1:123", 2, None), "--coordinator=node1:123: give --process-id too"),
        (("node1:123", None, None), "give --num-processes and --process-id too"),
        (("node1:123", 2, 2), "--process-id=2: 2 processes have the numbers 0 to 1"),
        (("node1:123", 2, -1), "--process-id=-1: 2 processes have the numbers 0 to 1"),
        (("node1:123", 0, 0), "--num-processes=0: expected 1 or more"),
    ],
)
def test_flags_that_do_not_go_together_are_one_line(flags, expected):
    with pytest.raises(UserError) as error:
        connect(*flags)
    assert expected in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("environ", "count"),
    [
        ({}, None),
        (SLURM | {"SLURM_NTASKS": "16"}, 16),
        (SLURM | {"SLURM_NTASKS": "1"}, 1),
        ({"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4"}, None),  # in a job, but not started by srun
        ({"OMPI_MCA_orte_hnp_uri": "1.0;tcp://h:1", "OMPI_COMM_WORLD_SIZE": "3"}, 3),
        ({"TPU_WORKER_HOSTNAMES": "a,b,c,d", "TPU_WORKER_ID": "2"}, 4),
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, 1),
        ({"TPU_WORKER_HOSTNAMES": "a,b", "MEGASCALE_NUM_SLICES": "2"}, 4),
    ],
)
def test_a_scheduler_tells_how_many_there_are(environ, count):
    assert count_processes(environ) == count


def test_auto_where_there_is_nothing_to_find(command, tmp_path):
    done = command(*DIGITS, "--coordinator=auto", "--workdir", tmp_path, check=2)
    assert done.stderr.splitlines()[-1] == (
        "error: --coordinator=auto: nothing here tells of other processes; give HOST:PORT, "
        "--num-processes and --process-id"
    )


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (0, "start the others with the same --coordinator and --num-processes=2"),
        (1, "does process 0 run there, and is the port open between the machines?"),
    ],
)
def test_who_waits_for_others_in_vain_says_so(number, hint, command, tmp_path):
    where = "--coordinator=127.0.0.1:1", "--num-processes=2", f"--process-id={number}"
    if number == 0:
        where = f"--coordinator=127.0.0.1:{free_port()}", *where[1:]
    done = command(*DIGITS, *where, "--connect-seconds=1", "--workdir", tmp_path, check=134)
    assert done.stderr.splitlines()[-1] == (
        f"error: {where[0]}: 2 processes have not all met there within 1 s; {hint}"
    )
    assert not list(tmp_path.iterdir())


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_second_run_in_a_directory_is_refused(command, tmp_path):
    with lock_directory(tmp_path):
        done = command(*DIGITS, "--config.num_steps=1", "--workdir", tmp_path, check=2)
    assert done.stderr.splitlines()[-1] == (
        f"error: --workdir={tmp_path}: process {os.getpid()} on {os.uname().nodename} is training "
        "in it; wait until that is done, stop it, or give another --workdir"
    )
    assert not list(tmp_path.iterdir())


def test_a_killed_process_leaves_no_lock(tmp_path):
    script = f"""
import os, pathlib, sys, time
from jaxcnn.files.rundir import lock_directory
with lock_directory(pathlib.Path({str(tmp_path)!r})):
    print("held", flush=True)
    time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=f"process {process.pid} on "), lock_directory(tmp_path):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with (
        lock_directory(tmp_path),
        (tmp_path / ".lock").open() as file,
        pytest.raises(BlockingIOError),
    ):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.fixture
def connected(monkeypatch):
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)


# What was seen, or stands in the sources of jaxlib, Orbax and NCCL.
@pytest.mark.parametrize(
    "error",
    [
        TimeoutError("Timed out after 300 seconds."),
        ValueError("UNKNOWN: Gloo AllGather failed: [external/gloo/transport/tcp/pair.cc:538] "),
        ValueError("Gloo all-reduce failed: Read error [127.0.0.1]:4321: Connection reset by peer"),
        RuntimeError("DEADLINE_EXCEEDED: Barrier timed out. Id: save. This usually happens"),
        RuntimeError("INTERNAL: NCCL operation ncclGroupEnd() failed: unhandled system error"),
        RuntimeError("UNAVAILABLE: Failed to send RPC to coordination service. Either the leader"),
    ],
)
def test_an_error_about_another_process_is_not_one_of_the_disk(error, connected):
    assert is_about_others(error)
    with pytest.raises(type(error)), disk_errors(Path("checkpoints")):
        raise error


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        TimeoutError(errno.ETIMEDOUT, "Connection timed out"),  # a network disk's
        ValueError("RESOURCE_EXHAUSTED: /runs/gloo/heartbeat-nccl/d/1: write failed"),
    ],
)
def test_an_error_of_the_disk_is_one_line(error, connected):
    assert not is_about_others(error)
    with pytest.raises(UserError, match="could not be written"), disk_errors(Path("checkpoints")):
        raise error


@pytest.mark.parametrize(
    ("of_all", "expected"),
    [
        ([[1, 2], [1, 2]], None),
        ([[1, 2], [1, 2], [1, 3]], "process 2 has a git commit other than process 0; start all of"),
        ([[1, 2], [4, 2]], "process 1 has a config other than process 0; start all of them with"),
    ],
)
def test_what_is_not_alike_is_named_with_its_process(of_all, expected, monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: len(of_all))
    monkeypatch.setattr(multihost_utils, "process_allgather", lambda own: np.array(of_all))
    if expected is None:
        check_alike({"a config": "x", "a git commit": "y"})
        return
    with pytest.raises(UserError) as error:
        check_alike({"a config": "x", "a git commit": "y"})
    assert str(error.value).startswith(expected)
