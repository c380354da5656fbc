"""A config as an experiment file."""

import importlib.util

import pytest

from jaxcnn.config.keys import differences, resolve
from jaxcnn.search.results import experiment_text
from tests.configs import given

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
@pytest.mark.parametrize("command", ["", """jaxcnn tune '--y=a\\n\"\"\" b'""", 'ends with a "'])
def test_an_experiment_file_gives_its_config_and_says_where_it_is_from(name, command, tmp_path):
    config = resolve(given(**CONFIGS[name]))
    path = tmp_path / "best.py"
    path.write_text(experiment_text(config, f"The best.\n\n    {command}"))
    spec = importlib.util.spec_from_file_location("best", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert differences(config, resolve(module.get_config())) == {}
    assert module.__doc__ == f"The best.\n\n    {command}"
