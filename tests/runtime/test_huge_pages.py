"""Huge pages: our commands start once more with them, and nobody else does."""

import os
import subprocess
import sys

import pytest

from jaxcnn.runtime import huge_pages
from jaxcnn.runtime.huge_pages import can_help, variables
from tests.processes import ROOT, environment

TUNABLE, STARTED_AGAIN = "glibc.malloc.hugetlb", "JAXCNN_STARTED_AGAIN"
WON = {"GLIBC_TUNABLES": f"{TUNABLE}=1"}

here = pytest.mark.skipif(not variables({}), reason="huge pages are not to be won here")

# Tells how the process was started, and ends it: a command says so in one line, and exits with 2.
TOLD = """
import os, sys
print(os.environ.get("GLIBC_TUNABLES"), os.getpid(), sys.stdin.read(), sys.warnoptions, sys.argv)
raise ValueError("this is all")
"""

ASK = "import jaxcnn, os; print('has', os.environ.get('GLIBC_TUNABLES'))"


@pytest.fixture
def experiment(tmp_path):
    path = tmp_path / "told.py"
    path.write_text(TOLD)
    return path


def run(*words, typed="", **more):
    """Python with these words: (process id, exit code, stdout, stderr)."""
    env = {k: v for k, v in environment(1).items() if k not in ("GLIBC_TUNABLES", STARTED_AGAIN)}
    process = subprocess.Popen(
        [sys.executable, *map(str, words)], env=env | more, cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = process.communicate(typed, timeout=100)
    return process.pid, process.returncode, out, err


@here
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, f"{TUNABLE}=1"),
        ("glibc.malloc.arena_max=3", f"glibc.malloc.arena_max=3:{TUNABLE}=1"),
        (f"{TUNABLE}=0", f"{TUNABLE}=0"),
    ],
)
def test_a_command_has_them_unless_its_user_has_decided(given, expected, experiment):
    """And it is the process that was started, with its input, options, words and exit code."""
    more = {} if given is None else {"GLIBC_TUNABLES": given}
    words = ["-W", "ignore", "-m", "jaxcnn.main", "--config", experiment]
    pid, code, out, err = run(*words, typed="typed", **more)
    argv = ["jaxcnn train", "--config", str(experiment)]
    assert out == f"{expected} {pid} typed ['ignore'] {argv}\n"
    assert (code, err) == (2, f"error: {experiment}, line 4: ValueError: this is all\n")


@here
def test_a_process_of_the_launcher_has_them(experiment):
    _, code, out, _ = run("launch/local.py", "--processes=1", "--config", experiment)
    assert code == 2
    assert out.startswith(f"{TUNABLE}=1 ")


@here
@pytest.mark.parametrize("how", ["code", "script", "module", "debugger"])
def test_importing_jaxcnn_starts_nothing_again(how, tmp_path):
    (tmp_path / "mine.py").write_text(ASK)
    words, typed = {
        "code": (["-c", ASK, "-m", "jaxcnn.main"], ""),
        "script": ([tmp_path / "mine.py", "-m", "jaxcnn.main"], ""),
        "module": (["-m", "mine", "-m", "jaxcnn.main"], ""),
        "debugger": (["-m", "pdb", "-m", "jaxcnn.main"], f"{ASK}\nq\n"),
    }[how]
    path = os.pathsep.join([str(tmp_path), environment(1)["PYTHONPATH"]])
    _, code, out, err = run(*words, typed=typed, PYTHONPATH=path)
    assert code == 0, err
    assert "has None" in out


@here
def test_a_loader_that_drops_tunables_is_asked_once(tmp_path):
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys; os.environ.pop('GLIBC_TUNABLES', None); print('start', flush=True)"
    )
    path = os.pathsep.join([str(tmp_path), environment(1)["PYTHONPATH"]])
    _, code, out, _ = run("-m", "jaxcnn.main", "--nonsense", PYTHONPATH=path)
    assert (code, out) == (2, "start\n" * 2)


def test_a_process_that_cannot_be_started_again_goes_on(monkeypatch):
    monkeypatch.delenv(STARTED_AGAIN, raising=False)
    monkeypatch.setattr(huge_pages, "variables", lambda environ: WON)
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    huge_pages.start_again()
    assert STARTED_AGAIN not in os.environ


@pytest.mark.parametrize(
    ("libc", "kernel", "expected"),
    [
        ("glibc 2.35", "always [madvise] never", True),
        ("glibc 3.0", "always [madvise] never", True),
        ("glibc 2.34", "always [madvise] never", False),
        ("glibc 2.36", "[always] madvise never", False),
        ("glibc 2.36", "always madvise [never]", False),
        ("musl 2.36", "always [madvise] never", False),
    ],
)
def test_they_are_asked_for_where_asking_helps(libc, kernel, expected):
    assert can_help(libc, kernel) is expected


@pytest.mark.parametrize("libc", ["", "glibc", "glibc 2", "glibc 2.x"])
def test_a_c_library_that_is_not_known_gets_no_variables(libc, monkeypatch):
    monkeypatch.setattr(os, "confstr", lambda name: libc)
    assert variables({}) == {}


def test_other_systems_get_no_variables(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert variables({}) == {}
