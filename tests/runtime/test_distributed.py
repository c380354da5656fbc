"""Several processes: what they are told by flags and schedulers, and what becomes of mistakes."""

import fcntl
import os
import signal
import socket
import subprocess
import sys

import pytest

from jaxcnn.errors import UserError
from jaxcnn.runtime.distributed import connect, found_in
from jaxcnn.runtime.rundir import locked

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
    assert found_in(environ) == count


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
    done = command(*DIGITS, *where, "--connect-seconds=1", "--workdir", tmp_path, check=2)
    assert done.stderr.splitlines()[-1] == (
        f"error: {where[0]}: 2 processes have not all met there within 1 s; {hint}"
    )
    assert not list(tmp_path.iterdir())


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_second_run_in_a_directory_is_refused(command, tmp_path):
    with locked(tmp_path):
        done = command(*DIGITS, "--config.num_steps=1", "--workdir", tmp_path, check=2)
    assert done.stderr.splitlines()[-1] == (
        f"error: --workdir={tmp_path}: process {os.getpid()} on {os.uname().nodename} is training "
        "in it; wait until that is done, stop it, or give another --workdir"
    )
    assert {path.name for path in tmp_path.iterdir()} == {".lock"}


def test_a_killed_process_leaves_no_lock(tmp_path):
    script = f"""
import os, pathlib, sys, time
from jaxcnn.runtime.rundir import locked
with locked(pathlib.Path({str(tmp_path)!r})):
    print("held", flush=True)
    time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    with pytest.raises(UserError, match=f"process {process.pid} on "), locked(tmp_path):
        pass
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with locked(tmp_path), (tmp_path / ".lock").open() as file, pytest.raises(BlockingIOError):
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
