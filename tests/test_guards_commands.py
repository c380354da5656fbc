"""Commands that are printed can be copied, under every way to start: they name what there is."""

import ast
import html
import importlib.util
import json
import re
import shlex
import shutil
import signal
import subprocess

import pytest

from tests.processes import ROOT
from tests.ways import VERBS, WAYS, clean_environment, words_after_start

EXPERIMENT = """
from jaxcnn.config import default_config


def get_config():
    config = default_config()
    config.num_steps = 2000
    config.eval_every_steps = 1000
    config.checkpoint_every_steps = 1000
    config.batch_size = 8
    config.model.filters = (4,)
    config.model.convs_per_stage = 1
    return config
"""


def do_again(run):
    """The command that a run's report shows, None if it shows none."""
    (page,) = run.rglob("report.html")
    _, _, section = page.read_text().partition('id="do-it-again"')
    text = html.unescape(re.sub(r"<[^>]*>", "\n", section))
    return next((line.strip() for line in text.splitlines() if "--config" in line), None)


@pytest.fixture(scope="module", params=WAYS)
def resumed(request, tmp_path_factory, cache_dir):
    """A run that was stopped at its first step and ended by the line this printed:
    (its flags, its directory).
    """
    folder = tmp_path_factory.mktemp("guards")
    (folder / "tiny one.py").write_text(EXPERIMENT)
    flags = ["--config", str(folder / "tiny one.py"), "--workdir", str(folder / "run"),
             f"--config.data.cache_dir={cache_dir}"]  # fmt: skip
    env = clean_environment()
    process = subprocess.Popen(
        [*WAYS[request.param]("train"), *flags], env=env, cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    seen = []
    for line in process.stderr:
        seen.append(line)
        if line.startswith("step 1 "):
            process.send_signal(signal.SIGTERM)
            break
    _, rest = process.communicate(timeout=100)
    assert process.returncode == 143, "".join(seen) + rest
    (line,) = re.findall(r"^stopped, step \d+ is saved; resume with: (.*)$", rest, re.M)
    assert words_after_start(shlex.split(line)) == flags

    done = subprocess.run(
        line, shell=True, env=env, cwd=ROOT, text=True, capture_output=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^resuming from step \d+ of 2000$", done.stderr, re.M), done.stderr
    return flags, folder / "run"


def test_a_run_that_was_stopped_ends_with_the_line_that_it_printed(resumed):
    _, run = resumed
    *_, last = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    assert last["step"] == 2000
    assert json.loads((run / "eval.json").read_text())["split"] == "test"


def test_the_report_of_a_run_shows_the_command_that_repeats_it(resumed):
    flags, run = resumed
    assert words_after_start(shlex.split(do_again(run))) == flags


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        # As runs of a856e92 and before have kept them.
        (
            ["/usr/bin/python3", "/gone/jaxcnn/main.py", "--config", "a b.py"],
            ["--config", "a b.py"],
        ),
        (["/usr/bin/python3", "/home/me/notebook.py", "--config", "a.py"], None),
    ],
    ids=["main.py", "a script"],
)
def test_the_command_lines_that_older_runs_have_kept_are_understood(
    words, shown, workdir, command, tmp_path
):
    run = shutil.copytree(workdir, tmp_path / "run")
    content = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(content | {"command": words}))
    for page in run.rglob("report.html"):
        page.unlink()
    command("--workdir", run, module="jaxcnn.evaluate", check=0)
    again = do_again(run)
    assert (again and words_after_start(shlex.split(again))) == shown


# Python's files, and what is read beside them.
TEXTS = sorted(
    path
    for pattern in ("README.md", "docs/**/*.md", "docs/**/*.ipynb", "launch/*", "jaxcnn/**/*.py",
                    "jaxcnn/**/*.html", "experiments/**/*.py", "benchmarks/**/*.py")
    for path in ROOT.glob(pattern)
    if path.is_file()
)  # fmt: skip
# Our modules after -m, in a shell's line or in a list of words; a NAME in capitals stands for any.
MODULE = re.compile(r"""-m(?:\s+|["'],\s*["'])(jaxcnn(?:\.\w+)*)\b""")
# python -m jaxcnn VERB, or the script after a prompt or a backtick, or before its flags.
VERB = re.compile(r"(?:-m jaxcnn |\$ jaxcnn |`jaxcnn )([a-z_-]+)|^\s*jaxcnn ([a-z_-]+) --", re.M)


def strings(path):
    """A text with, of Python's files, its string literals alone, each as it is printed."""
    if path.suffix != ".py":
        return path.read_text()
    tree = ast.walk(ast.parse(path.read_text()))
    literals = [n.value for n in tree if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return "\n".join(literals)


def test_every_printed_module_exists():
    named = {
        (str(path.relative_to(ROOT)), module)
        for path in TEXTS
        for module in MODULE.findall(path.read_text() + strings(path))
        if not module.rpartition(".")[2].isupper()
    }
    assert {module for _, module in named} > {"jaxcnn.main", "jaxcnn.evaluate", "jaxcnn.tune"}
    assert [one for one in sorted(named) if importlib.util.find_spec(one[1]) is None] == []


def test_every_printed_verb_exists():
    some = set(WAYS) != {"module"}  # else none may be promised yet
    known = set(VERBS) | {verb.replace("_", "-") for verb in VERBS} if some else set()
    named = {
        (str(path.relative_to(ROOT)), match[1] or match[2])
        for path in TEXTS
        for match in VERB.finditer(strings(path))
    }
    assert [one for one in sorted(named) if one[1] not in known] == []


def test_verbs_that_a_command_line_is_made_for_exist():
    """`command("VERB")`."""
    made = {
        name
        for path in (*ROOT.glob("jaxcnn/**/*.py"), *ROOT.glob("launch/*.py"))
        for name in re.findall(r"""\bcommand\(\s*["']([\w.]+)["']""", path.read_text())
    }
    assert {"train", "check_data"} <= made <= set(VERBS)
