"""Robustness as an option of a report: corruptions, attacks, images of other kinds."""

import json

import cv2
import numpy as np
import pytest

from jaxcnn.core.attacks import ATTACKS
from jaxcnn.core.corruptions import CORRUPTIONS
from jaxcnn.errors import UserError
from jaxcnn.evaluation.assess import assess, find_data
from jaxcnn.evaluation.report import write_report
from jaxcnn.evaluation.robustness import assess_robustness, attacked, corrupted, outlier_scores
from tests.evaluation.test_evaluate import changed


def test_nothing_is_done_that_was_not_asked_for(assessment):
    assert assess_robustness(assessment) is None


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_attack_of_nothing_changes_nothing_and_a_strong_one_much(workdir, attack):
    accuracy = {}
    for epsilon in (0.0, 16.0):
        trained = changed(workdir, report__attack=attack, report__epsilon=epsilon)
        found = assess(trained, find_data(trained))
        robustness = assess_robustness(found)
        (told,) = robustness.attacks.values()
        accuracy[epsilon] = told.value
        assert robustness.num_examples == 359
        assert robustness.clean.value == found.measured.metrics["accuracy"].value
    assert accuracy[0.0] == robustness.clean.value
    assert accuracy[16.0] < accuracy[0.0] - 0.2


def test_corruptions_lower_accuracy_the_more_the_stronger_they_are(assessment, monkeypatch):
    chosen = {name: CORRUPTIONS[name] for name in ("impulse_noise", "snow")}
    monkeypatch.setattr("jaxcnn.evaluation.robustness.CORRUPTIONS", chosen)
    found = corrupted(assessment, np.arange(0, 359, 2))
    assert found.keys() == chosen.keys()
    for shares in found.values():
        assert len(shares) == 5 and shares[-1] < shares[0]


def test_images_of_another_kind_are_told_apart_and_reported(workdir, tmp_path):
    """Noise is no digit. The folder needs no classes."""
    noise = np.random.default_rng(0)
    for number in range(40):
        image = noise.integers(0, 256, (12, 10, 3)).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    trained = changed(workdir, report__outliers=str(tmp_path))
    found = assess(trained, find_data(trained))
    scores, count = outlier_scores(found, str(tmp_path))
    assert count == 40
    assert all(0 <= score.value <= 1 for score in scores.values())
    assert max(score.value for score in scores.values()) > 0.6
    write_report(found, tmp_path / "out")
    told = json.loads((tmp_path / "out" / "metrics.json").read_text())["robustness"]
    assert told["num_outliers"] == 40 and told["outliers"].keys() == scores.keys()
    assert "40 other images told apart" in (tmp_path / "out" / "report.html").read_text()


def test_a_folder_without_images_is_one_line(assessment, tmp_path):
    with pytest.raises(UserError, match="has no images of a kind jaxcnn reads"):
        outlier_scores(assessment, str(tmp_path))


def test_an_attacked_accuracy_has_an_interval(workdir):
    trained = changed(workdir, report__attack="fgsm")
    found = attacked(assess(trained, find_data(trained)), np.arange(100))
    assert found.low <= found.value <= found.high
