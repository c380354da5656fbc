"""The native code is built once for a machine; without a compiler training goes on without it."""

import json
import os
import stat
import subprocess
import sys

import pytest

from jaxcnn.core.cpu import cpu_formulations
from jaxcnn.errors import UserError
from jaxcnn.native import library
from jaxcnn.native.formulations import native_formulations
from jaxcnn.runtime.compile import formulations
from tests.processes import finish, start

needs_compiler = pytest.mark.skipif(not library.available(), reason="no C++ compiler here")

TELL = """
import logging, sys
logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
from jaxcnn.native.library import available
print(available(), available())
"""


@pytest.fixture
def told(tmp_path, monkeypatch):
    """What a new process says of the library, with an empty cache the first time."""
    monkeypatch.setenv("HOME", str(tmp_path))

    def tell(compiler=None):
        if compiler is not None:
            script = tmp_path / "compiler"
            script.write_text(f"#!/bin/sh\necho $* >> {tmp_path}/calls\n{compiler}\n")
            script.chmod(script.stat().st_mode | stat.S_IXUSR)
            monkeypatch.setenv("CXX", str(script))
        code, stdout, stderr = finish(start([sys.executable, "-c", TELL], fresh=True))
        assert code == 0, stderr
        return stdout.splitlines()

    return tell


@needs_compiler
def test_it_is_built_once(told, tmp_path):
    first, then = (told('exec g++ "$@"') for _ in range(2))
    assert first[0].startswith("native code for this processor built")
    assert first[1:] == then == ["True True"]
    calls = (tmp_path / "calls").read_text().splitlines()
    assert sum(" -o " in call for call in calls) == 1
    assert sum(call == "--version" for call in calls) == 2, "another version would build its own"
    (built,) = (tmp_path / ".cache/jaxcnn/native").iterdir()
    assert built.suffix == ".so"


def test_a_compiler_that_fails_is_told_in_a_line(told, tmp_path):
    line, last = told('[ "$1" = --version ] || { echo "no such header" >&2; exit 1; }')
    assert "cannot build native code (no such header)" in line
    assert "slower" in line
    assert last == "False False"
    assert not list((tmp_path / ".cache/jaxcnn/native").iterdir()), "nothing half-written"


def test_what_a_compiler_says_may_be_in_any_encoding(told):
    fails = r'[ "$1" = --version ] || { printf "erreur g\351n\351rale" >&2; exit 1; }'
    line, last = told(fails)
    assert "erreur g" in line
    assert last == "False False"


@needs_compiler
def test_a_compiler_may_have_words_of_its_own(told, monkeypatch):
    monkeypatch.setenv("CXX", "env LANG=C g++")
    assert told()[-1] == "True True"


def test_a_home_that_cannot_be_written_to_is_told_in_a_line(told, tmp_path):
    (tmp_path / ".cache").touch()
    line, last = told()
    assert "Not a directory" in line
    assert last == "False False"


@needs_compiler
def test_a_library_without_the_calls_is_told_in_a_line(told, tmp_path):
    told()
    (built,) = (tmp_path / ".cache/jaxcnn/native").iterdir()
    empty = tmp_path / "empty.cc"
    empty.touch()
    subprocess.run(["g++", "-shared", "-fPIC", str(empty), "-o", str(built)], check=True)
    line, last = told()
    assert str(built) in line, "what to delete"
    assert last == "False False"


@needs_compiler
@pytest.mark.parametrize("native", [None, True, False])
def test_a_run_tells_whether_its_layers_are_native(command, tmp_path, native):
    flags = [] if native is None else [f"--config.parallel.native={native}"]
    recipe = ("--config", "experiments/digits.py", "--config.num_epochs=1", *flags)
    command(*recipe, "--workdir", tmp_path, check=0)
    told = json.loads((tmp_path / "environment.json").read_text())
    assert told["native_layers"] is (native is not False)


def test_native_layers_on_several_devices_are_a_mistake(command, tmp_path):
    recipe = ("--config", "experiments/digits.py", "--config.parallel.native=True")
    done = command(*recipe, "--workdir", tmp_path, devices=2, check=2)
    assert "config.parallel.native=True: is for one CPU device" in done.stderr


def test_without_a_compiler_a_line_says_so(told, monkeypatch):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    line, last = told()
    assert "no C++ compiler" in line
    assert last == "False False"


@needs_compiler
def test_a_damaged_library_is_built_again(told, tmp_path):
    told()
    for built in (tmp_path / ".cache/jaxcnn/native").iterdir():
        os.truncate(built, 100)
        assert told()[-1] == "True True"


@needs_compiler
def test_native_code_is_for_one_cpu_device():
    assert formulations("cpu") is native_formulations
    assert formulations("cpu", 8) is cpu_formulations
    assert formulations("cpu", 1, native=False) is cpu_formulations
    assert formulations("cpu", 1, native=True) is native_formulations
    assert formulations("gpu") is None
    assert formulations("gpu", native=False) is None


@needs_compiler
def test_a_run_is_evaluated_by_native_code_or_by_the_model_as_it_is():
    """Also where `native=True` could not be trained."""
    assert formulations("cpu", training=False) is native_formulations
    assert formulations("cpu", native=False, training=False) is None
    assert formulations("cpu", 8, native=True, training=False) is None
    assert formulations("gpu", native=True, training=False) is None


@pytest.mark.parametrize(("platform", "num_devices"), [("gpu", 1), ("cpu", 8)])
def test_native_code_where_it_cannot_be_is_a_mistake(platform, num_devices):
    with pytest.raises(UserError, match=rf"native=True.*{num_devices} of platform {platform}"):
        formulations(platform, num_devices, native=True)


def test_native_code_without_a_compiler_is_a_mistake_if_it_is_asked_for(monkeypatch):
    monkeypatch.setattr("jaxcnn.runtime.compile.available", lambda: False)
    assert formulations("cpu", 1) is cpu_formulations
    with pytest.raises(UserError, match=r"native=True: needs g\+\+ or clang\+\+"):
        formulations("cpu", 1, native=True)
