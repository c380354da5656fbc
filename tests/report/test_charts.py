"""Charts say what the numbers say, for one class and for a thousand."""

import warnings

import numpy as np
import pytest

from jaxcnn.report import (
    DARK,
    LIGHT,
    class_bars,
    confusion_chart,
    curves,
    in_both_themes,
    projection_chart,
    reliability_chart,
    robustness_chart,
    to_png,
)
from tests.report.predictions import HOSTILE, decode, measured

HISTORY = [
    {"step": 10 * k, "epoch": k, "split": split, "loss": loss / k, "accuracy": 1 - loss / k / 4}
    for k in range(1, 6)
    for split, loss in (("train", 1.0), ("validation", 2.0))
]


def drawings(num_classes, names):
    """Every chart of so many classes, by name: functions of a theme."""
    found = measured(num_classes, 5, names)
    order = np.arange(num_classes)[::-1]
    rng = np.random.default_rng(0)
    label = rng.integers(0, num_classes, 200)
    independent = {
        "curves": lambda theme: curves(HISTORY, theme, best_step=30),
        "reliability": lambda theme: reliability_chart(found.reliability, 0.1, 1.5, theme),
    }
    return (independent if num_classes == 1 else {}) | {
        "confusion": lambda theme: confusion_chart(found.confusion, names, order, theme),
        "bars": lambda theme: class_bars(found, theme),
        "projection": lambda theme: projection_chart(
            rng.normal(size=(200, 2)), label, names, theme
        ),
        "robustness": lambda theme: robustness_chart(dict.fromkeys(names[:3], [0.5] * 5), 1, theme),
    }


def texts(figure):
    from matplotlib.text import Text

    return {words.get_text() for words in figure.findobj(Text)}


@pytest.mark.parametrize("num_classes", [1, 5, 300])
def test_every_chart_is_drawn_in_both_themes_whatever_classes_are_called(num_classes):
    names = (*HOSTILE, *(f"{k}" for k in range(300)))[:num_classes]
    for name, draw in drawings(num_classes, names).items():
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a layout that does not fit is a warning
            chart = in_both_themes(draw)
        light, dark = decode(chart.light), decode(chart.dark)
        assert (light[0, 0] == 255).all() and (dark[0, 0] < 40).all(), name
        assert light.shape == dark.shape and light.std() > 1 and chart.description, name
        assert abs(light.shape[1] / chart.width - 150 / 96) < 0.02


def test_a_single_mistake_among_a_thousand_classes_stays_in_sight():
    confusion = np.diag(np.full(1000, 50))
    confusion[900, 10] = 1
    shown = confusion_chart(confusion, [str(k) for k in range(1000)]).axes[0].images[0].get_array()
    assert shown.shape == (250, 250) and shown[225, 2] > 0
    assert (shown > 0).sum() == 251


def test_a_reordered_matrix_keeps_counts_with_their_names():
    confusion = np.array([[7, 0, 1], [0, 8, 0], [2, 0, 9]])
    axes = confusion_chart(confusion, "abc", np.array([2, 0, 1])).axes[0]
    counts = {words.get_position(): words.get_text() for words in axes.texts}
    assert counts == {(0, 0): "9", (1, 0): "2", (0, 1): "1", (1, 1): "7", (2, 2): "8"}
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["c", "a", "b"]


def test_of_many_classes_the_worst_and_the_best_are_shown():
    found = measured(300)
    figure = class_bars(found)
    ranked = sorted(found.classes, key=lambda name: found.classes[name]["f1"].value)
    ticks = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    f1 = [found.classes[name]["f1"].value for name in ticks]
    assert f1 == sorted(f1) and len(ticks) == 30
    assert f1[0] == found.classes[ranked[0]]["f1"].value
    assert f1[-1] == found.classes[ranked[-1]]["f1"].value
    assert "The 20 worst and the 10 best of 300 classes by F1" in texts(figure)


def test_curves_mark_the_kept_checkpoint_and_leave_out_what_is_not_finite():
    broken = {"step": 60, "epoch": 6, "split": "train", "loss": float("nan"), "accuracy": None}
    figure = curves([*HISTORY, broken], best_step=30)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert lines["checkpoint kept"].get_xdata()[0] == 3
    assert lines["train"].get_xdata().tolist() == [1, 2, 3, 4, 5]
    assert "validation accuracy from 50.0 to 90.0 %" in figure.get_label()


def test_a_run_without_a_history_has_an_empty_chart():
    assert len(to_png(curves([], DARK))) > 1000


def test_projections_thin_points_and_drop_those_that_are_nowhere():
    points = np.random.default_rng(0).normal(size=(20_000, 2))
    points[0] = np.nan
    for num_classes, collections in ((2, 2), (200, 1)):
        label = np.arange(20_000) % num_classes
        axes = projection_chart(points, label, [str(k) for k in range(num_classes)]).axes[0]
        assert len(axes.collections) == collections
        assert sum(len(c.get_offsets()) for c in axes.collections) == 5000


def test_the_most_harmful_corruption_comes_first_below_the_clean_images():
    figure = robustness_chart({"fog": [0.9, 0.8], "shot_noise": [0.5, 0.1]}, 0.95, LIGHT)
    ticks = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert ticks == ["clean", "shot noise", "fog"]
    assert {"95.0", "10.0", "80.0"} <= texts(figure)
