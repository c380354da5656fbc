"""The README's commands and code are what it says they are."""

import re
import shlex
import subprocess
import sys

from tests.processes import ROOT, environment

TEXT = (ROOT / "README.md").read_text()


def test_the_research_example_runs_as_printed_and_returns_metrics(tmp_path):
    code = re.search(r"<!-- research example -->\n```python\n(.*?)```", TEXT, re.S)[1]
    assert "config" not in code and "flags" not in code
    script = tmp_path / "example.py"
    script.write_text(code + "\nprint(sorted(metrics), int(state.step), float(metrics['count']))\n")
    done = subprocess.run(
        [sys.executable, script], env=environment(1), capture_output=True, text=True, timeout=300
    )
    assert done.stdout.strip() == "['correct', 'count', 'loss'] 1 8.0", done.stderr


def test_the_evaluation_example_runs_as_printed_on_a_finished_run(digits, tmp_path, monkeypatch):
    from jaxcnn.training.train import train

    monkeypatch.chdir(tmp_path)
    digits.num_epochs, digits.num_steps = None, 3
    digits.report.at_end = False
    train(digits, "runs/digits")
    names = {}
    exec(re.search(r"<!-- evaluation example -->\n```python\n(.*?)```", TEXT, re.S)[1], names)
    for picture in ("curves.png", "confusion.png"):
        assert (tmp_path / picture).read_bytes().startswith(b"\x89PNG")
    assert "misclassified" in names["galleries"]
    assert repr(names["assessment"]) == (
        "Assessment(Trained('runs/digits', step=3), 'test', 359 images)"
    )


def test_the_population_example_runs_as_printed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(re.search(r"<!-- population example -->\n```python\n(.*?)```", TEXT, re.S)[1], names)
    assert names["group"] == [0, 1]
    assert sorted(names["metrics"]) == [0, 1]
    assert capsys.readouterr().out.startswith("11 {0: 0.")
    assert (tmp_path / "runs/rate_0.001/eval.json").is_file()


def test_the_quick_start_is_two_commands_and_ci_runs_the_second():
    section = TEXT.split("## Quick start")[1].split("\n## ")[0]
    commands = re.findall(r"```bash\n(.*?)\n```", section, re.S)
    assert len(commands) == 2
    assert all("\n" not in command for command in commands)
    assert "jaxcnn.main --config experiments/digits.py" in commands[0]
    assert "pytest" in commands[1]
    done = subprocess.run(
        ["sed", "-n", "/<!-- test command -->/,/^```$/p", "README.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[2:-1] == [commands[1]]
    assert "sed -n '/<!-- test command -->/,/^```$/p' README.md" in (ROOT / ".ci/run").read_text()


def test_every_key_and_recipe_the_readme_names_exists():
    from jaxcnn.config.keys import check_known

    check_known(re.findall(r"--config\.([\w.]+)", TEXT.replace("--config.report.KEY", "")))
    options = TEXT.split("--config.report.KEY=VALUE")[1].split("\n\n")[0]
    check_known(f"report.{key}" for key in re.findall(r"`(\w+)=", options))
    for path in re.findall(r"experiments/\w+\.py", TEXT):
        assert (ROOT / path).exists(), path


def test_the_recipe_in_the_readme_resolves():
    from jaxcnn.config.keys import resolve

    code = re.search(
        r"```python\n(from jaxcnn.config import default_config\n\n\ndef.*?)```", TEXT, re.S
    )[1]
    names = {}
    exec(code, names)
    assert resolve(names["get_config"]()).model.name == "resnet18"


def test_command_lines_in_the_readme_parse_as_a_shell_would():
    for block in re.findall(r"```bash\n(.*?)```", TEXT, re.S):
        for line in block.replace("\\\n", " ").splitlines():
            assert shlex.split(line, comments=True)
