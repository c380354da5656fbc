"""The page of a search says what was found, whatever was searched and however it went."""

import math
import warnings

import numpy as np
import pytest

from jaxcnn.search.charts import (
    history_chart,
    learning_curves_chart,
    short_keys,
    short_number,
    slices_chart,
)
from jaxcnn.search.page import search_notes, search_verdict, tune_files
from jaxcnn.search.trial import Search, Trial
from tests.report.pages import check_page
from tests.report.predictions import HOSTILE, decode

RATE = "optimizer.learning_rate"
TEST = {"split": "test", "num_examples": 359, "accuracy": 0.989, "loss": 0.1}
CHARTS = ("history", "importance", "parallel_coordinates", "slices", "learning_curves")


def search(trials, **given):
    given = {"log": frozenset({RATE}), "test": TEST, "best_config": "get_config"} | given
    title = given.pop("title", "Search of digits")
    return Search(title, "accuracy", trials=trials, command="jaxcnn tune", **given)


def many(count, parameters=3):
    """Trials as searches have them: some pruned, some failed, the last still running."""
    rng = np.random.default_rng(0)
    trials = []
    for number in range(count):
        params = {
            RATE: float(10 ** rng.uniform(-4, 0)),
            "optimizer.name": str(rng.choice(["sgd", "lion"])),
            "batch_size": int(rng.choice([32, 64])),
            "optimizer.clip_norm": (None, 1.0)[number % 2],
            **{f"model.part{k}.width": float(rng.random()) for k in range(parameters)},
        }
        params = dict(list(params.items())[:parameters])
        value = 0.99 - 0.02 * abs(math.log10(params[RATE]) + 2)
        state = ("complete", "complete", "pruned", "failed")[number % 4]
        history = [(50 * k, value * (1 - 0.5**k)) for k in range(1, 3 if state == "pruned" else 6)]
        if state == "failed":
            trials.append(Trial(number, state, params, reason="the loss is nan"))
        else:
            trials.append(Trial(number, state, params, value, history, 1.5))
    return [*trials[:-1], Trial(count - 1, "running", trials[-1].params)]


@pytest.mark.parametrize(("count", "parameters"), [(8, 2), (200, 10)])
def test_the_page_of_a_search_has_every_chart_and_every_trial(count, parameters):
    trials = many(count, parameters)
    importance = {key: 1 / (k + 2) for k, key in enumerate(trials[0].params)}
    found = search(trials, importance=importance)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a layout that does not fit is a warning
        files = tune_files(found)
    assert set(files) == {"tune.html", *(f"{name}.png" for name in CHARTS)}
    for name in CHARTS:
        assert decode(files[f"{name}.png"]).std() > 1, name
    html = files["tune.html"].decode()
    reader = check_page(html)
    assert len(reader.all("img")) == len(CHARTS)
    # The table of all trials, that of the best parameters, that of reasons; and three headers.
    assert len(reader.all("tr")) == count + parameters + 1 + 3
    assert f"Trial {found.best.number} is best of {count}" in html and "the loss is nan" in html
    assert "jaxcnn tune" in html and "get_config" in html


HISTORY = [(10, 0.5), (20, 0.9)]
ODD = {
    "no trial": [],
    "one trial": [Trial(0, "complete", {RATE: 0.1}, 0.9, HISTORY)],
    "no complete trial": [
        Trial(0, "failed", {RATE: 0.1}, reason="out of memory"),
        Trial(1, "pruned", {RATE: 0.2}, 0.5, [(10, 0.5)]),
        Trial(2, "pruned", {RATE: 0.3}),
        Trial(3, "running", {RATE: 0.4}),
    ],
    "equal values": [Trial(k, "complete", {RATE: 0.1 * (k + 1)}, 0.5, HISTORY) for k in range(5)],
    "equal parameters": [Trial(k, "complete", {RATE: 0.1}, 0.1 * k, HISTORY) for k in range(5)],
    "words only": [
        Trial(k, "complete", {"model.name": ("a", "b")[k % 2], "flip": bool(k % 3)}, 0.1 * k)
        for k in range(5)
    ],
    "nothing searched": [Trial(k, "complete", {}, 0.1 * k, HISTORY) for k in range(3)],
    "not finite": [
        Trial(0, "complete", {RATE: 0.1}, math.nan, [(10, math.nan)]),
        Trial(1, "complete", {RATE: 0.2}, math.inf, [(10, math.inf)]),
        Trial(2, "complete", {RATE: 0.3, "x": math.inf}, 0.5, HISTORY),
        Trial(3, "complete", {RATE: 0.0, "x": math.nan}, 0.4, HISTORY),
    ],
    "different keys": [
        Trial(0, "complete", {RATE: 0.1, "optimizer.momentum": 0.9}, 0.5, HISTORY),
        Trial(1, "complete", {RATE: 0.2, "optimizer.b2": 0.99}, 0.6, HISTORY),
        Trial(2, "complete", {"optimizer.b2": None}, 0.7, HISTORY),
    ],
    "tuples and hostile names": [
        Trial(k, "complete", {"model.filters": (32, 64 * k), name: name}, 0.1 * k, reason=name)
        for k, name in enumerate(HOSTILE)
    ],
}


@pytest.mark.parametrize("name", ODD)
def test_odd_searches_have_a_page_too(name):
    metric = ("loss", "accuracy")[list(ODD).index(name) % 2]
    found = search(ODD[name])._replace(metric=metric)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        files = tune_files(found)
    check_page(files["tune.html"].decode())
    for content in (files[name] for name in files if name.endswith(".png")):
        assert decode(content).ndim == 3
    assert "<script" not in files["tune.html"].decode()


def test_the_best_is_a_complete_trial_with_a_finite_value_and_the_first_of_equals():
    trials = [
        Trial(0, "pruned", {}, 0.99),
        Trial(1, "complete", {}, math.inf),
        Trial(3, "complete", {}, 0.9),
        Trial(2, "complete", {}, 0.9),
        Trial(4, "complete", {}, 0.8),
    ]
    assert search(trials).best.number == 2
    assert search(trials)._replace(metric="loss").best.number == 4
    assert search(trials[:2]).best is None


def test_the_verdict_names_the_number_that_chose_and_the_honest_one():
    trials = [
        Trial(0, "complete", {RATE: 0.1}, 0.9861),
        Trial(1, "complete", {RATE: 0.2}, 0.9),
        Trial(2, "pruned", {RATE: 0.2}, 0.5),
    ]
    told = search_verdict(search(trials))
    assert told == (
        "Trial 0 is best of 3 (1 pruned): 98.61 % on validation, 98.9 % on 359 test images."
    )
    assert "it was not tested" in search_verdict(search(trials, test=None))
    untested = search_verdict(search(trials, test=TEST | {"split": "validation"}))
    assert "no test images" in untested and "98.9" not in untested
    assert any("flatters" in note.what for note in search_notes(search(trials)))
    assert search_verdict(search(trials[2:])) == "No trial is complete (1 pruned)."


def test_a_best_value_at_the_end_of_what_was_tried_is_pointed_out():
    rates = np.geomspace(1e-4, 1, 20)
    rising = [Trial(k, "complete", {RATE: rate}, 0.5 + k / 100) for k, rate in enumerate(rates)]
    told = [note.what for note in search_notes(search(rising))]
    assert any(f"best {RATE}, 1, is among the largest" in what for what in told)
    middle = [
        Trial(k, "complete", {RATE: rate}, 0.9 - abs(k - 10) / 100) for k, rate in enumerate(rates)
    ]
    assert not any("is among" in note.what for note in search_notes(search(middle)))


def test_scales_are_logarithmic_where_the_search_was_and_few_numbers_are_a_choice():
    rates = np.geomspace(1e-4, 1, 9)
    trials = [
        Trial(k, "complete", {RATE: float(rate), "batch_size": (64, 128, 16)[k % 3]}, 0.1)
        for k, rate in enumerate(rates)
    ]
    sizes, logarithmic = slices_chart(search(trials)).axes
    assert logarithmic.get_xscale() == "log"
    assert slices_chart(search(trials, log=frozenset())).axes[1].get_xscale() == "linear"
    assert [words.get_text() for words in sizes.get_xticklabels()] == ["16", "64", "128"]


def test_a_trial_that_went_wrong_does_not_hide_the_differences_of_the_others():
    values = [0.95, 0.96, 0.97, 0.98, 0.1]
    found = search([Trial(k, "complete", {}, value) for k, value in enumerate(values)])
    low, high = history_chart(found).axes[0].get_ylim()
    assert 0.8 < low < 0.95 and 0.98 < high < 1


def test_the_line_of_the_best_counts_complete_trials_only():
    values = [(0, "complete", 0.5), (1, "pruned", 0.9), (2, "complete", 0.7), (3, "complete", 0.6)]
    found = search([Trial(number, state, {}, value) for number, state, value in values])
    axes = history_chart(found).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert list(lines["best so far"].get_ydata()) == [0.5, 0.5, 0.7, 0.7]
    assert list(lines["best: trial 2"].get_ydata()) == [0.7]
    assert axes.collections[0].get_offsets().tolist() == [[0, 0.5], [2, 0.7], [3, 0.6]]


def test_of_many_learning_curves_the_last_ones_and_the_best_are_drawn():
    trials = [
        Trial(k, ("complete", "pruned")[k % 2], {}, 1 - k / 500, [(1, 0.0), (2, 1 - k / 500)])
        for k in range(500)
    ]
    lines = learning_curves_chart(search(trials)).axes[0].lines
    ends = [line.get_ydata()[-1] for line in lines if len(line.get_ydata()) == 2]
    assert len(ends) == 101 and max(ends) == ends[-1] == 1.0


def test_charts_leave_pyplot_as_it_was():
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    before = dict(mpl.rcParams)
    history_chart(search(many(8)))
    assert plt.get_fignums() == [] and dict(mpl.rcParams) == before


def test_names_are_as_long_as_it_takes_to_tell_them_apart():
    keys = ["optimizer.learning_rate", "schedule.warmup.learning_rate", "loss.label_smoothing"]
    assert list(short_keys(keys).values()) == [
        "optimizer.learning_rate",
        "warmup.learning_rate",
        "label_smoothing",
    ]
    assert [short_number(x) for x in (64.0, 1.05e-5, 0.12345)] == ["64", "1.05e-05", "0.123"]
