"""The cases of ../shared/cases, made of public bug reports: each trains and asks as a user would.

A script exits 0 where jaxcnn behaves rightly and says in one line what it saw; see its README.
"""

import os
import subprocess
import sys

import pytest

from tests.conftest import SHARED
from tests.processes import PATIENT, ROOT, WITH_TENSORFLOW

CASES = SHARED.parent / "cases"

# Of the kinds that the fewest other tests hold, those that take seconds.
QUICK = (
    "26_two_classes_top5", "36_names_that_mean_something", "42_brackets_in_the_run_directory",
    "47_tuples_given_twice", "48_class_weights_as_a_dict", "56_no_such_accelerator",
    "58_weights_of_other_classes", "59_pipes_that_close",
)  # fmt: skip

_PARSER = {
    "import jaxcnn.main as m": "from jaxcnn.cli import parsing, process, train",
    "from jaxcnn import cli\n": "",
    "cli.config_from_flags()": "parsing.config_from_flags()",
    "from jaxcnn.config import flatten": "from jaxcnn.config.keys import flatten",
    'cli.run(show, usage="")': "train.main = show; process.run(train)",
}

# Where a case imports from inside jaxcnn, what has another place or name now.
MOVED = {
    "09_one_image_a_class": {
        "from jaxcnn.trained import load_trained": "from jaxcnn import load_trained",
        "from jaxcnn.build import build_dataset": "from jaxcnn.builders.data import build_dataset",
    },
    "31_config_values": _PARSER,
    "47_tuples_given_twice": _PARSER,
}

# Not mended yet, and what that waits for.
OPEN: dict[str, str] = {}


def _case(name):
    marks = [] if name in QUICK else [pytest.mark.slow]
    if name in OPEN:
        marks.append(pytest.mark.xfail(reason=OPEN[name], strict=True))
    return pytest.param(name, marks=marks, id=name)


@pytest.mark.parametrize(
    "name",
    [_case(path.stem) for path in sorted(CASES.glob("[0-9]*.py"))]
    or [pytest.param("", marks=pytest.mark.skip(reason="no ../shared/cases here"))],
)
def test_a_case(name, tmp_path):
    """In a process of one device, with the network's and the user's settings of this one."""
    own = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"}
    env = own | {"TMPDIR": str(tmp_path), "XLA_FLAGS": PATIENT, "PYTHONPATH": WITH_TENSORFLOW}
    text = (CASES / f"{name}.py").read_text()
    for old, new in MOVED.get(name, {}).items():
        text = text.replace(old, new)
    script = tmp_path / f"{name}.py"
    script.write_text(text)
    line = [sys.executable, str(script), sys.executable]
    done = subprocess.run(
        line, cwd=ROOT, env=env, capture_output=True, text=True, errors="replace", timeout=900
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
