"""The page about several seeds tells the mean, how sure it is, and where each seed's report is."""

import re
import warnings

import pytest

from jaxcnn.report.charts import seeds_chart
from jaxcnn.report.seeds_page import seeds_files, seeds_notes, seeds_verdict
from tests.analysis.test_seeds import ACCURACY, evaluated
from tests.report.pages import Reader
from tests.report.predictions import decode
from tests.report.test_charts import HISTORY, texts

METRICS = {seed: evaluated(value) for seed, value in enumerate(ACCURACY)}


def files(metrics, **given):
    histories = dict.fromkeys(metrics, HISTORY)
    given = {"title": "digits", "config": {"a": "<b>"}, "command_line": "python -m x"} | given
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a layout that does not fit is a warning
        return seeds_files(metrics, histories, **given)


@pytest.mark.parametrize("count", [1, 12])
def test_the_page_holds_every_seed_and_a_link_to_its_report(count):
    metrics = {seed: evaluated(0.9 + seed % 7 / 100) for seed in range(count)}
    found = files(metrics)
    assert set(found) == {"report.html", "curves.png", "seeds.png"}
    assert decode(found["curves.png"]).std() > 1 and decode(found["seeds.png"]).std() > 1
    html = found["report.html"].decode()
    links = [link["href"] for link in Reader(html).all("a")]
    assert {f"../seed_{k}/report/report.html" for k in range(count)} <= set(links)
    assert "&lt;b&gt;" in html and "python -m x" in html


def test_the_verdict_is_a_mean_with_its_interval():
    told = seeds_verdict(METRICS)
    assert told.startswith("99.44 % ± 0.25 of the test images are right on average of 5 seeds")
    assert "99.19 to 99.69 %" in told and "0.20 points" in told
    assert "luck is not known" in seeds_verdict({0: evaluated(0.5)})


def test_a_mean_above_100_percent_is_not_promised():
    html = files({0: evaluated(1.0), 1: evaluated(0.98), 2: evaluated(0.99)}, link_to="")
    page = re.sub('"data:[^"]*"', "", html["report.html"].decode())
    assert "to 100.00 %" in page and "101." not in page and "../seed_" not in page


def test_what_weakens_the_interval_is_said():
    def told(*accuracy, **more):
        metrics = {seed: evaluated(value, **more) for seed, value in enumerate(accuracy)}
        return " ".join(note.what for note in seeds_notes(metrics))

    assert "no deviation" in told(0.9)
    assert "say little" in told(0.9, 0.91, 0.92) and "say little" not in told(*ACCURACY)
    assert "no length" in told(*[0.9] * 5)
    assert "flatter" in told(*ACCURACY, split="validation")


def test_the_dots_are_the_seeds_and_the_line_is_their_mean():
    figure = seeds_chart(METRICS)
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert tuple(lines["a seed"].get_xdata()) == ACCURACY
    assert lines["mean 99.44 %"].get_xdata()[0] == pytest.approx(0.9944)
    assert {"seed 0", "seed 4", "95 % interval of the mean"} <= texts(figure)
    assert "99.72 %" in figure.get_label()
