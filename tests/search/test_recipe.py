"""A config as an experiment file."""

import importlib.util
import shlex
import subprocess
import sys

import pytest

from jaxcnn.config.keys import differences, resolve
from jaxcnn.search.recipe import recipe_text
from tests.configs import given
from tests.processes import ROOT

CONFIGS = {
    "little": {},
    "steps": {"num_steps": 7, "num_epochs": None, "eval_every_steps": 3, "batch_size": 1},
    "much": {
        "model__name": "cnn",
        "model__filters": tuple(range(1, 40)),
        "augment": (("resized_crop", {"scale": (0.35, 1.0)}), "flip", ("brightness", 0.2)),
        "optimizer__rules": tuple(
            (f"part_{i}/.*kernel", {"learning_rate": 0.1 * i + 0.1, "freeze": False})
            for i in range(4)
        ),
        "loss__class_weights": (1.0, 2.0),
        "data__mean": (0.5,),
        "data__std": (0.25,),
        "data__cache_dir": 'a "quoted\\" folder',
    },
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(
    "search",
    ["", "jaxcnn tune " + "'--x=log 1 2' " * 12 + """'--y=a\"\"\" b'""", "x" * 200],
)
def test_a_recipe_gives_its_config_and_passes_ruff(name, search, tmp_path):
    config = resolve(given(**CONFIGS[name]))
    path = tmp_path / "best.py"
    path.write_text(recipe_text(config, "The best.", "python -m x", "Found by:", search))
    spec = importlib.util.spec_from_file_location("best", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert differences(config, resolve(module.get_config())) == {}
    assert "The best." in module.__doc__
    for check in (["check"], ["format", "--diff"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *check, "--config", ROOT / "pyproject.toml", path],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout


def test_a_command_over_several_lines_is_the_same_to_a_shell(tmp_path):
    command = "jaxcnn tune " + "'--search.x=log 1 2' " * 12
    text = recipe_text(resolve(given()), "The best.", "python -m x", "Found by:", command)
    printed = text.split("Found by:\n\n")[1].split('"""')[0]
    assert shlex.split(printed.replace("\\\n", " ")) == shlex.split(command)
    assert printed.count("\\\n") > 2
