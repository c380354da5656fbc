"""launch/slurm.sh, with stand-ins for srun, scancel and scontrol."""

import os
import signal
import time

import pytest

from tests.launch.commands import Commands
from tests.processes import ROOT

ARGUMENTS = ("--config", "experiments/digits.py", "--workdir", "/shared/a run")

# Ends with the code it is told, or waits for TERM, which `scancel` brings, saves and ends with 143.
SRUN = """
if [[ -n "${SAYS-}" ]]; then echo "$SAYS" >&2; fi
if [[ "$CODE" != wait ]]; then exit "$CODE"; fi
trap 'sleep 0.3; echo saved >> "$FOLDER/calls"; exit 143' TERM
echo $$ > "$FOLDER/pid"
while true; do sleep 0.05; done
"""


@pytest.fixture
def commands(tmp_path):
    commands = Commands(tmp_path)
    commands.add("srun", SRUN)
    commands.add("scancel", 'kill -TERM "$(cat "$FOLDER/pid")"')
    commands.add("scontrol", "")
    return commands


def submitted(commands, code, **variables):
    return commands.run("slurm.sh", *ARGUMENTS, SLURM_JOB_ID="7", CODE=code, **variables)


def signalled(commands, number):
    """The script, sent a signal while the run goes on."""
    process = commands.start("slurm.sh", *ARGUMENTS, SLURM_JOB_ID="7", CODE="wait")
    end = time.monotonic() + 30
    while not (commands.folder / "pid").exists() or not (commands.folder / "pid").read_text():
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    return process


def test_a_run_that_ends_ends_the_job(commands):
    assert submitted(commands, "0") == (0, "")
    (call,) = commands.calls
    assert call.startswith("srun ") and call.endswith(
        "jaxcnn train --config experiments/digits.py --workdir /shared/a run"
    )


@pytest.mark.parametrize("code", ["1", "2", "130"])
def test_a_mistake_does_not_come_back(commands, code):
    assert submitted(commands, code) == (int(code), "")
    assert not any(call.startswith("scontrol") for call in commands.calls)


def test_a_warning_saves_and_goes_back_into_the_queue(commands):
    code, errors = commands.end(signalled(commands, signal.SIGUSR1))
    assert code == 143
    assert commands.calls[1:] == ["scancel --signal=TERM 7", "saved", "scontrol requeue 7"]
    assert "time is nearly up" in errors and "back into the queue" in errors


def test_a_cancelled_job_is_waited_for_and_stays_out_of_the_queue(commands):
    """SLURM sends the run and the script a TERM."""
    process = signalled(commands, signal.SIGTERM)
    time.sleep(0.2)
    assert process.poll() is None, "the script left before the run had saved"
    os.kill(int((commands.folder / "pid").read_text()), signal.SIGTERM)
    code, errors = commands.end(process)
    assert code == 143
    assert commands.calls[1:] == ["saved"]
    assert "the same sbatch command goes on with it" in errors


@pytest.mark.parametrize("code", ["134", "137"])
def test_a_process_that_died_goes_back_into_the_queue_so_many_times(commands, code):
    submitted(commands, code)
    assert commands.calls[-1] == "scontrol requeue 7"
    _, errors = submitted(commands, code, SLURM_RESTART_COUNT="20")
    assert commands.calls[-1].startswith("srun") and "giving up" in errors


@pytest.mark.parametrize(
    ("says", "ends_with"),
    [
        ("srun: error: n1: task 0: Exited with exit code 2", 2),
        ("srun: error: n1: tasks 0-3: Exited with exit code 2", 2),
        ("srun: error: n1: task 0: Exited with exit code 1", 134),
        ("error: config.x: no srun: Exited with exit code 2", 134),
    ],
)
def test_a_mistake_of_one_process_is_not_the_death_of_those_that_jax_aborts(
    says, ends_with, commands
):
    """The code of srun is the highest of all tasks."""
    code, errors = submitted(commands, "134", SAYS=says)
    assert code == ends_with and errors.startswith(says + "\n")
    assert any(call.startswith("scontrol") for call in commands.calls) == (ends_with == 134)


def test_each_process_gets_its_cores(commands):
    submitted(commands, "0", SLURM_CPUS_PER_TASK="6")
    assert "--cpus-per-task=6" in commands.calls[0].split()


def test_started_without_sbatch_it_says_so(commands):
    code, errors = commands.run("slurm.sh", *ARGUMENTS)
    assert code == 1 and "SLURM_JOB_ID: is not set: start this with sbatch" in errors


def test_sbatch_is_told_to_requeue_and_to_warn_the_script_alone():
    options = [
        line.split(" ", 1)[1]
        for line in (ROOT / "launch/slurm.sh").read_text().splitlines()
        if line.startswith("#SBATCH ")
    ]
    assert {"--requeue", "--signal=B:USR1@120", "--open-mode=append"} <= set(options)
    # JAX takes GPU k for the k-th process of a node: each must see all of them.
    assert not any("per-task" in option and "gpu" in option for option in options)
    (gpus,) = (option.split("=")[1] for option in options if option.startswith("--gpus-per-node"))
    assert f"--ntasks-per-node={gpus}" in options
