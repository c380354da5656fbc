"""Standard streams as users have them: closed, of pipes that nobody reads, without letters."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.processes import ROOT, environment

# How bash starts a command; "$@" is the command line.
WAYS = {
    "no letters": 'LC_ALL=C PYTHONIOENCODING=ascii "$@"',
    "LC_ALL=C": 'LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 "$@"',
    "no standard error": '"$@" 2>&-',
    "no standard output": '"$@" >&-',
    "no streams": '"$@" <&- >&- 2>&-',
    "nobody reads the output": '"$@" | true; exit ${PIPESTATUS[0]}',
    "nobody reads the messages": '{ "$@" 2>&1 >&3 | true; exit ${PIPESTATUS[0]}; } 3>&1',
    "a full disk behind standard error": '"$@" 2>/dev/full',
}

SMALL = ("--config=digits", "--config.num_steps=2", "--config.model.filters=4")

# What each verb is given; {run}, {png} and {tmp} stand for a finished run, an image, a new folder.
COMMANDS = {
    "train": (*SMALL, "--workdir={tmp}/run", "--config.report.resamples=100"),
    "evaluate": ("--workdir={run}", "--output={tmp}/out", "--config.report.resamples=100"),
    "predict": ("--workdir={run}", "{png}"),
    "export": ("--workdir={run}", "--output={tmp}/export", "--format=onnx"),
    "serve": ("--workdir={run}", "--port=0"),
    "tune": (*SMALL, "--workdir={tmp}/tune", "--trials=1", "--config.report.at_end=False",
             "--search.optimizer.b1=0.8|0.9"),
    "check_data": ("--config=digits", "--output={tmp}/checked"),
    "compare": ("{run}", "{tmp}/other", "--output={tmp}/compared"),
    "benchmark": ("--models", "lenet5", "--batch-size=2", "--seconds=0"),
}  # fmt: skip


def ended(way, verb, *words):
    """(exit code, standard error) of a command that bash starts in one of these ways."""
    line = ["bash", "-c", WAYS[way], "bash", sys.executable, "-m", "jaxcnn", verb, *words]
    process = subprocess.Popen(
        line, cwd=ROOT, env=environment(1), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, errors="replace", start_new_session=True,
    )  # fmt: skip
    if verb == "serve" and "--help" not in words:
        time.sleep(40)  # it answers until it is told to stop
        os.killpg(process.pid, signal.SIGTERM)
    _, messages = process.communicate(timeout=300)
    return process.returncode, messages


@pytest.mark.parametrize("way", WAYS)
def test_help_does_not_depend_on_the_streams(way):
    code, messages = ended(way, "train", "--help")
    assert code == (141 if "output" in way and "nobody" in way else 0)
    assert "Traceback" not in messages and "Exception ignored" not in messages


def test_an_output_that_a_full_disk_refuses_is_one_line():
    line = ["bash", "-c", f"{sys.executable} -m jaxcnn train --help >/dev/full"]
    done = subprocess.run(line, cwd=ROOT, env=environment(1), capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "error: standard output: cannot be written (No space left on device)\n"


def test_no_file_takes_the_number_of_a_closed_stream():
    code = (
        "import sys, os; from jaxcnn.cli.streams import prepare_streams; prepare_streams(); "
        "file = open('/dev/null'); sys.exit(not (file.fileno() > 2 and sys.stdout and sys.stderr))"
    )
    line = ["bash", "-c", '"$@" <&- >&- 2>&-', "bash", sys.executable, "-c", code]
    assert subprocess.run(line, cwd=ROOT, env=environment(1)).returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize("verb", COMMANDS)
@pytest.mark.parametrize("way", WAYS)
def test_a_command_does_its_work_whatever_the_streams_are(way, verb, workdir, tmp_path):
    from PIL import Image

    Image.new("L", (8, 8), 7).save(tmp_path / "é7.png")
    if verb == "compare":
        shutil.copytree(workdir, tmp_path / "other")
    places = {"run": workdir, "png": tmp_path / "é7.png", "tmp": tmp_path}
    code, messages = ended(way, verb, *(word.format(**places) for word in COMMANDS[verb]))
    assert "Traceback" not in messages and "Exception ignored" not in messages, messages
    stopped = 141 if way == "nobody reads the output" else 0
    assert code in ({0, 143, -15} if verb == "serve" else {0, stopped}), messages
