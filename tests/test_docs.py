"""The code in docs/ runs as it is printed, and what the pages name exists."""

import re

import jax
import numpy as np
import pytest

from tests.conftest import ROOT

PYTHON = re.compile(r"```python\n(.*?)```", re.S)


def test_the_custom_steps_run_as_printed_and_learn():
    names = {}
    for block in PYTHON.findall((ROOT / "docs/custom_step.md").read_text()):
        exec(block, names)
    for losses in (names["losses"], names["student_losses"]):
        assert len(losses) == 20 and np.isfinite(losses).all()
        assert np.mean(losses[-3:]) < 0.8 * losses[0]


@pytest.mark.slow
def test_the_population_runs_as_printed_and_its_worst_learn_from_its_best():
    names = {}
    for block in PYTHON.findall((ROOT / "docs/populations.md").read_text()):
        exec(block, names)
    found = names["result"]
    # One member in four may have been copied in the last round only.
    assert found["on validation"][0] > 0.9 > found["on validation, alone"][2]
    assert found["test accuracy"] > 0.9 and found["rates"][0] > 1e-3
    first = names["first_states"](4)
    keys = names["exploit_and_explore"](first, np.arange(4), np.random.default_rng(0))
    rates = np.asarray(keys.opt_state.hyperparams["learning_rate"])
    assert rates[1:].tolist() == np.geomspace(1e-5, 1, 4).astype(np.float32)[1:].tolist()
    assert np.isclose(rates[0], 0.8) or np.isclose(rates[0], 1.2)
    assert (jax.random.key_data(keys.key) == jax.random.key_data(first.key)).all()


def test_the_pages_name_keys_that_are_there():
    from jaxcnn.config.keys import check_known

    for page in ("training", "augmentation", "custom_step", "populations"):
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
