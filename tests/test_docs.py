"""The code in docs/ runs as it is printed, and what the pages name exists."""

import re

import numpy as np

from tests.conftest import ROOT

PYTHON = re.compile(r"```python\n(.*?)```", re.S)


def test_the_custom_steps_run_as_printed_and_learn():
    names = {}
    for block in PYTHON.findall((ROOT / "docs/custom_step.md").read_text()):
        exec(block, names)
    for losses in (names["losses"], names["student_losses"]):
        assert len(losses) == 20 and np.isfinite(losses).all()
        assert np.mean(losses[-3:]) < 0.8 * losses[0]


def test_the_pages_name_keys_that_are_there():
    from jaxcnn.config import check_known

    for page in ("training", "augmentation", "custom_step"):
        text = (ROOT / f"docs/{page}.md").read_text()
        check_known(re.findall(r"--config\.([\w.]+)", text))
        check_known(re.findall(r"`((?:optimizer|ema|early_stop|loss)\.[a-z_]+)[=`]", text))


def test_the_rules_in_the_page_resolve():
    import ast

    from jaxcnn.config import default_config, resolve

    text = (ROOT / "docs/training.md").read_text()
    config = default_config()
    config.num_epochs = 1.0
    config.optimizer.rules = ast.literal_eval(re.search(r'optimizer.rules="(.*)"', text)[1])
    assert len(resolve(config).optimizer.rules) == 3
