"""Search spaces: the function of a file, flags, both; and what is wrong with them."""

import pytest
from optuna.trial import FixedTrial

from jaxcnn.config.keys import differences, resolve
from jaxcnn.errors import UserError
from jaxcnn.search.space import load_space, survey
from tests.configs import given

BASE = resolve(given(model__filters=(8, 16)))


def space_of(folder, body="", base=BASE, **flags):
    """The space of a file with these lines in its search(), and flags; `__` stands for a dot."""
    file = folder / "experiment.py"
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    file.write_text(f"def search(trial, config):\n{lines}" if body else "")
    return load_space(file, {key.replace("__", "."): spec for key, spec in flags.items()}, base)


def mistake(folder, body="", base=BASE, **flags):
    with pytest.raises(UserError) as error:
        survey(space_of(folder, body, base, **flags), base)
    assert "\n" not in str(error.value)
    return str(error.value).replace(f"{folder}/", "")


RATE = 'config.optimizer.learning_rate = trial.suggest_float("optimizer.learning_rate", 0.1, 1)'


def test_a_trial_changes_what_is_searched_and_nothing_else(tmp_path):
    space = space_of(tmp_path, RATE, model__norm="batch|group", batch_size="8 16")
    params = {"optimizer.learning_rate": 0.5, "model.norm": "group", "batch_size": 9}
    changed = differences(BASE, space.config(BASE, FixedTrial(params)))
    assert changed == {
        "optimizer.learning_rate": (0.001, 0.5),
        "model.norm": (None, "group"),
        "batch_size": (128, 9),
    }


def test_a_flag_replaces_what_the_function_says_of_its_key(tmp_path):
    space = space_of(tmp_path, RATE, optimizer__learning_rate="log 0.001 0.01")
    found, _ = survey(space, BASE)
    assert [(one.low, one.high, one.log) for one in found.values()] == [(0.001, 0.01, True)]
    trial = FixedTrial({"optimizer.learning_rate": 0.005})
    assert space.config(BASE, trial).optimizer.learning_rate == 0.005


def test_values_that_are_no_numbers_or_names_are_searched_as_texts(tmp_path):
    space = space_of(tmp_path, model__filters="(4,)|(8, 16)")
    found, _ = survey(space, BASE)
    assert found["model.filters"].choices == ("(4,)", "(8, 16)")
    assert space.config(BASE, FixedTrial({"model.filters": "(4,)"})).model.filters == (4,)


def test_another_model_takes_none_of_the_keywords_of_the_first(tmp_path):
    space = space_of(tmp_path, model__name="cnn|resnet18")
    assert space.config(BASE, FixedTrial({"model.name": "cnn"})).model.filters == (8, 16)
    assert "filters" not in space.config(BASE, FixedTrial({"model.name": "resnet18"})).model


def test_a_length_in_other_units_replaces_the_first(tmp_path):
    space = space_of(tmp_path, num_steps="10 20")
    config = space.config(BASE, FixedTrial({"num_steps": 15}))
    assert (config.num_steps, config.num_epochs) == (15, None)


def test_parameters_that_only_some_trials_have_are_found(tmp_path):
    body = (
        'if trial.suggest_categorical("schedule.name", ["cosine", "constant"]) == "constant":\n'
        '    config.schedule.name = "constant"\n'
        '    config.optimizer.weight_decay = trial.suggest_float("decay", 0, 1)'
    )
    found, at_bounds = survey(space_of(tmp_path, body), BASE)
    assert list(found) == ["schedule.name", "decay"] and len(at_bounds) == 4


MISTAKES = {
    "nothing in the file, no flags": ({}, "experiment.py: nothing to search; give it a function"),
    "suggests nothing": ({"body": "pass"}, "experiment.py: search() suggests nothing"),
    "changes nothing": (
        {"body": 'trial.suggest_float("optimizer.learning_rate", 0.1, 1)'},
        "experiment.py: search() changes nothing in the config",
    ),
    "raises": (
        {"body": "x = 1\nconfig.optimizer.momentun.x = trial"},
        "experiment.py, line 3: AttributeError: ",
    ),
    "a reversed bound": (
        {"body": 'trial.suggest_float("x", 1, 0.1)'},
        "experiment.py, line 2: ValueError: `low <= high` must hold",
    ),
    "the logarithm of 0": (
        {"body": 'trial.suggest_float("x", 0, 1, log=True)'},
        "experiment.py, line 2: ValueError: ",
    ),
    "an unknown key in the file": (
        {"body": 'config.bach_size = trial.suggest_int("batch_size", 8, 16)'},
        "config.bach_size: no such key (did you mean batch_size?)",
    ),
    "another type": (
        {"body": 'config.batch_size = trial.suggest_float("batch_size", 8, 16)'},
        "experiment.py, line 2: TypeError: ",
    ),
    "a tuple as a choice": (
        {"body": 'config.model.filters = trial.suggest_categorical("model.filters", [(4,), (8,)])'},
        "experiment.py: search() lets model.filters be (4,), which a study cannot keep",
    ),
    "ranges that change": (
        {"body": 'config.seed = trial.suggest_int("seed", 0, trial.number + 1)'},
        "experiment.py: search() gives seed another range from trial to trial",
    ),
    "a keyword nobody takes": (
        {"model__depth": "1 3"},
        "config.model.depth: model 'cnn' takes no 'depth'",
    ),
    "a bound out of range": (
        {"loss__label_smoothing": "0 1"},
        "config.loss.label_smoothing=1.0: expected a share from 0 to below 1",
    ),
    "a choice of another type": (
        {"optimizer__learning_rate": "0.1|fast"},
        "config.optimizer.learning_rate='fast': expected a number",
    ),
    "what is compared by": (
        {"data__holdout": "0.1 0.2"},
        "config.data.holdout: cannot be searched",
    ),
    "what is compared": (
        {"best_metric": "loss|accuracy"},
        "config.best_metric: cannot be searched",
    ),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_in_a_space_is_found_before_any_trial(name, tmp_path, recwarn):
    how, message = MISTAKES[name]
    assert message in mistake(tmp_path, **how)
