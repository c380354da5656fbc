"""Huge pages are asked for under every way to start a command, and by nothing else."""

import json
import subprocess
import sys

import pytest

from jaxcnn.runtime.huge_pages import variables
from tests.processes import ROOT
from tests.ways import VERBS, WAYS, clean_environment

pytestmark = pytest.mark.skipif(not variables({}), reason="huge pages are not to be won here")
WON = "glibc.malloc.hugetlb=1"

# Python imports this as it starts. A process that has the pages has shown what is asked of it.
WITNESS = """
import json, os
with open({log!r}, "a") as file:
    print(json.dumps([os.getpid(), os.environ.get("GLIBC_TUNABLES")]), file=file)
if {ends} and "GLIBC_TUNABLES" in os.environ:
    os._exit(0)
"""


@pytest.fixture
def starts(tmp_path):
    """Runs a command line: how often Python has started in it, with which tunables each time."""

    def run(line, *, ends):
        log = tmp_path / "starts.jsonl"
        (tmp_path / "sitecustomize.py").write_text(WITNESS.format(log=str(log), ends=ends))
        done = subprocess.run(
            list(map(str, line)), env=clean_environment(tmp_path), cwd=ROOT, text=True,
            capture_output=True, timeout=100,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        pids, tunables = zip(*map(json.loads, log.read_text().splitlines()), strict=True)
        assert len(set(pids)) == 1
        return list(tunables)

    return run


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("way", WAYS)
def test_every_command_starts_once_more_with_huge_pages(way, verb, starts):
    assert starts([*WAYS[way](verb), "--help"], ends=True) == [None, WON]


@pytest.mark.parametrize("way", WAYS)
def test_a_command_that_was_started_again_goes_on(way, starts):
    assert starts([*WAYS[way]("train"), "--help"], ends=False) == [None, WON]


USE = "import jaxcnn; jaxcnn.MODELS; jaxcnn.make_train_step\n"
TEST = f"def test_it():\n    {USE}"


@pytest.mark.parametrize(
    "words",
    [["-c", USE, "train"], ["-c", USE, "jaxcnn", "train"], ["jaxcnn.py", "train"],
     ["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"]],
    ids=["code", "code with words", "script", "pytest"],
)  # fmt: skip
def test_a_process_that_imports_jaxcnn_is_never_started_again(words, starts, tmp_path):
    own = tmp_path / "own"  # a script's folder comes before all others: its name may not be ours
    own.mkdir()
    (own / "mine.py").write_text(USE)
    (own / "test_mine.py").write_text(TEST)
    names = {"jaxcnn.py": own / "mine.py", "test_mine.py": own / "test_mine.py"}
    assert starts([sys.executable, *(names.get(w, w) for w in words)], ends=False) == [None]
