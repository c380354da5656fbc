"""The README is short, its two commands are what it says they are, and CI runs the second."""

import re
import subprocess

from tests.processes import ROOT

TEXT = (ROOT / "README.md").read_text()


def test_it_can_be_read_in_one_go():
    assert len(TEXT.splitlines()) < 200


def test_the_quick_start_is_two_commands_and_ci_runs_the_second():
    section = TEXT.split("## Quick start")[1].split("\n## ")[0]
    commands = re.findall(r"```bash\n(.*?)\n```", section, re.S)
    assert len(commands) == 2
    assert all("\n" not in command for command in commands)
    assert "jaxcnn train --config digits" in commands[0]
    assert "pytest" in commands[1]
    done = subprocess.run(
        ["sed", "-n", "/<!-- test command -->/,/^```$/p", "README.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[2:-1] == [commands[1]]
    assert "sed -n '/<!-- test command -->/,/^```$/p' README.md" in (ROOT / ".ci/run").read_text()


def test_the_research_example_needs_no_config_and_no_flags():
    code = re.search(r"## For research.*?```python\n(.*?)```", TEXT, re.S)[1]
    assert "config" not in code and "flags" not in code


def test_every_recipe_is_in_its_table():
    table = TEXT.split("| recipe |")[1].split("\n\n")[0]
    assert sorted(re.findall(r"^\| `(\w+)`", table, re.M)) == sorted(
        path.stem for path in (ROOT / "experiments").glob("*.py")
    )
