"""The README and the pages of docs/ do what they say: their code runs as it is printed, their
commands, keys, recipes and links are there.
"""

import ast
import doctest
import importlib
import importlib.util
import inspect
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import jax
import numpy as np
import pytest

from tests.pages import PAGES, blocks, command_lines, name_of
from tests.processes import ROOT, environment

WITH_PYTHON = [page for page in PAGES if blocks(page, "python")]
WITH_COMMANDS = [p for p in PAGES if any(block.mark == "run" for block in blocks(p, "bash"))]
VERBS = (
    "train", "evaluate", "predict", "export", "serve", "tune", "benchmark", "check_data", "compare",
)  # fmt: skip
RECIPES = {path.stem: path for path in (ROOT / "experiments").glob("*.py")}
# Their code takes minutes.
SLOW = ("docs/research/populations.md",)
# Names in `jaxcnn.__all__` without an example in their docstring. May only become shorter.
WITHOUT_EXAMPLE = {"tune"}


def page_ids(pages):
    return [
        pytest.param(p, id=name_of(p), marks=[pytest.mark.slow] * (name_of(p) in SLOW))
        for p in pages
    ]


@pytest.fixture
def prepare(tmp_path, monkeypatch, workdir, cache_dir):
    """Goes into an empty folder and puts there what a page's marks ask for."""

    def put(page):
        monkeypatch.chdir(tmp_path)
        every = blocks(page, "python") + blocks(page, "bash")
        for block in every:
            what, _, name = block.mark.partition(" ")
            if what == "file":
                Path(name).write_text(block.code)
            elif block.mark == "with runs/digits" and not Path("runs").exists():
                Path("runs").mkdir()
                Path("runs/digits").symlink_to(workdir)
            elif block.mark == "with photos/":
                write_photos(Path("photos"))

    return put


def write_photos(folder):
    """Sixty pictures in two classes, which differ in brightness."""
    random = np.random.default_rng(0)
    for number in range(60):
        name = ("dark", "light")[number % 2]
        (folder / name).mkdir(parents=True, exist_ok=True)
        pixels = random.integers(0, 128, (24, 24, 3)) + 100 * (number % 2)
        cv2.imwrite(str(folder / name / f"{number}.png"), pixels.astype(np.uint8))


def run_python(page):
    """The names that a page's blocks leave when they have run in order."""
    names = {"__name__": "page"}
    for block in blocks(page, "python"):
        exec(compile(block.code, name_of(page), "exec"), names)
    return names


@pytest.mark.parametrize("page", page_ids(WITH_PYTHON))
def test_the_code_of_a_page_runs_as_printed(page, prepare):
    prepare(page)
    names = run_python(page)
    check = WHAT_HOLDS.get(name_of(page))
    if check is not None:
        check(names)


def _readme(names):
    assert sorted(names["metrics"]) == ["correct", "count", "loss"]
    assert int(names["state"].step) == 1 and float(names["metrics"]["count"]) == 8
    assert "misclassified" in names["galleries"]
    assert repr(names["assessment"]).startswith("Assessment(Trained('runs/mine', step=")


def _custom_steps_learn(names):
    for losses in (names["losses"], names["student_losses"]):
        assert len(losses) == 20 and np.isfinite(losses).all()
        assert np.mean(losses[-3:]) < 0.8 * losses[0]


def _report(names):
    for picture in ("curves.png", "confusion.png"):
        assert Path(picture).read_bytes().startswith(b"\x89PNG")
    assert "misclassified" in names["galleries"]
    assert Path("report-of-mine/report.html").is_file()


def _population(names):
    """Its worst learn from its best."""
    result = names["result"]
    # One member in four may have been copied in the last round only.
    assert result["on validation"][0] > 0.9 > result["on validation, alone"][2]
    assert result["test accuracy"] > 0.9 and result["rates"][0] > 1e-3
    first = names["first_states"](4)
    keys = names["exploit_and_explore"](first, np.arange(4), np.random.default_rng(0))
    rates = np.asarray(keys.opt_state.hyperparams["learning_rate"])
    assert rates[1:].tolist() == np.geomspace(1e-5, 1, 4).astype(np.float32)[1:].tolist()
    assert np.isclose(rates[0], 0.8) or np.isclose(rates[0], 1.2)
    assert (jax.random.key_data(keys.key) == jax.random.key_data(first.key)).all()


def _recipe(names):
    import jaxcnn

    assert jaxcnn.resolve(names["get_config"]()).model.name == "resnet18"
    assert Path("runs/mine/eval.json").is_file()


def _group(names):
    assert names["group"] == [0, 1] and sorted(names["metrics"]) == [0, 1]
    assert Path("runs/rate_0.001/eval.json").is_file()


WHAT_HOLDS = {
    "README.md": _readme,
    "docs/guides/evaluation.md": _report,
    "docs/guides/seeds.md": _group,
    "docs/guides/training.md": _recipe,
    "docs/research/custom_step.md": _custom_steps_learn,
    "docs/research/populations.md": _population,
}


@pytest.mark.slow
@pytest.mark.parametrize("page", page_ids(WITH_COMMANDS))
def test_the_commands_of_a_page_run_as_printed(page, prepare, tmp_path):
    """As a user runs them: in an empty folder, by the script that the package installs."""
    prepare(page)
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin/jaxcnn"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m jaxcnn "$@"\n')
    script.chmod(0o755)
    env = environment(1)
    env |= {"PATH": f"{script.parent}{os.pathsep}{env['PATH']}"}
    code = "\n".join(block.code for block in blocks(page, "bash") if block.mark == "run")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        env=env, cwd=tmp_path, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("runs/*/report/report.html"))


def flags_of(verb):
    """The flags that a command and the parts it shares with others define."""
    files = (verb, "parsing", "process")
    sources = [(ROOT / "jaxcnn/cli" / f"{name}.py").read_text() for name in files]
    return {
        "help",
        "debug",
        "config",
        *re.findall(r'flags\.DEFINE_\w+\(\s*"([\w-]+)"', "".join(sources)),
    }


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_commands_parse_and_name_verbs_flags_keys_and_recipes_that_are_there(page):
    from jaxcnn.config.keys import check_known

    text = page.read_text().replace("--config.report.KEY", "")
    check_known(
        key
        for key in re.findall(r"--config\.([\w.]+)=", text)
        if not key.isupper() and "KEY" not in key
    )
    for line in command_lines(page):
        words = shlex.split(line, comments=True)
        assert words
        if "jaxcnn" not in words[:2]:  # srun jaxcnn ...
            continue
        verb, *rest = words[words.index("jaxcnn") + 1 :]
        assert verb in VERBS, line
        known = flags_of(verb)
        for word in rest:
            flag = word.lstrip("-").partition("=")[0]
            if word.startswith("--") and not flag.startswith(("config.", "search.")):
                assert flag in known, f"{verb}: {flag}: {line}"
    for name in re.findall(r"--config[= ]([a-z]\w*)\b(?![/.])", text):
        assert name in RECIPES or f"file {name}.py" in text, name


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_to_files_and_headings_that_are_there(page):
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(), flags=re.S | re.M)
    for to in re.findall(r'\]\(([^)\s]+)\)|src="([^"]+)"', text):
        path, _, anchor = (to[0] or to[1]).partition("#")
        if "://" in path:
            continue
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), to
        if anchor and target.suffix == ".md" and name_of(target) != "docs/reference/config.md":
            headings = re.findall(r"^#+ (.*)", target.read_text(), re.M)
            assert anchor in map(slug, headings), to


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_that_a_page_names_are_there(page):
    if page.name == "CHANGELOG.md":
        return  # it names what was
    for path in re.findall(
        r"`((?:jaxcnn|tests|benchmarks|launch|experiments)/[\w./]*)`", page.read_text()
    ):
        assert (ROOT / path).exists(), path
    for path, name in re.findall(r"`(jaxcnn/[\w/]*\.py)`, `(\w+)`", page.read_text()):
        assert re.search(rf"^(async )?(def|class) {name}\b", (ROOT / path).read_text(), re.M), name


def slug(heading):
    """The anchor of a heading, on the site and where the repository is shown."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading.lower()).replace("`", "")
    return re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", plain).strip())


def test_keys_that_a_page_names_are_there():
    from jaxcnn.config.keys import check_known, default_config, resolve

    for page in PAGES:
        named = r"`((?:optimizer|ema|early_stop|data|loss|parallel|pretrained)\.[a-z_]+)[=`]"
        keys = re.findall(named, page.read_text())
        check_known(key for key in keys if not key.endswith((".json", ".md")))
    text = (ROOT / "docs/guides/training.md").read_text()
    config = default_config()
    config.num_epochs = 1.0
    config.optimizer.rules = ast.literal_eval(re.search(r'optimizer.rules="(.*)"', text)[1])
    assert len(resolve(config).optimizer.rules) == 3
    options = (ROOT / "docs/guides/evaluation.md").read_text().split("--config.report.KEY=VALUE")[1]
    check_known(f"report.{key}" for key in re.findall(r"^\| `(\w+)=", options, re.M))


def examples_of(name):
    import jaxcnn

    value = getattr(jaxcnn, name)
    text = inspect.getdoc(value) if inspect.isclass(value) or callable(value) else None
    return doctest.DocTestParser().get_doctest(text or "", {}, name, None, 0)


def test_public_docstrings_have_an_example_that_runs(tmp_path, monkeypatch, workdir):
    """In a folder with a finished run of digits, runs/digits, and the same as runs/again."""
    import jaxcnn

    monkeypatch.chdir(tmp_path)
    for name in ("digits", "again"):
        shutil.copytree(workdir, Path("runs") / name)
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    missing, failures = set(), []
    for name in jaxcnn.__all__:
        if not callable(getattr(jaxcnn, name)):
            continue  # a table, or the version
        if not (example := examples_of(name)).examples:
            missing.add(name)
            continue
        lines = []
        runner.run(example, out=lines.append)
        failures += lines
    assert not failures, "".join(failures)
    assert missing <= WITHOUT_EXAMPLE, "an example is missing"
    assert missing == WITHOUT_EXAMPLE, "these have examples now: take them from the list"


def test_the_site_is_built_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path):
    if importlib.util.find_spec("mkdocs") is None:
        pytest.skip("no mkdocs here (the extra docs)")
    line = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path]
    env = environment(1) | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(line, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for page in tmp_path.rglob("*.html"):
        text = page.read_text()
        loads = re.findall(r'<(?:script|img|iframe)[^>]* src="([^"]+)"', text)
        loads += re.findall(
            r'<link [^>]*rel="(?:stylesheet|preconnect|icon)"[^>]* href="([^"]+)"', text
        )
        assert not [address for address in loads if address.startswith(("http", "//"))], page
    keys = (tmp_path / "reference/config/index.html").read_text()
    assert "optimizer.learning_rate" in keys and "resnet50" in keys
    assert "jaxcnn.make_train_step" in (tmp_path / "reference/api/index.html").read_text()
