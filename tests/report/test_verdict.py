"""The verdict is one sentence that the numbers allow."""

import numpy as np
import pytest

from jaxcnn.analysis.measure import measure
from jaxcnn.report import split_note, unreadable_note, verdict
from tests.report.predictions import measured


def judged(confusion):
    """What is measured where examples of class i are called j so many times."""
    confusion = np.asarray(confusion)
    label, prediction = (
        np.repeat(axis.ravel(), confusion.ravel()) for axis in np.indices(confusion.shape)
    )
    logits = np.eye(len(confusion), dtype=np.float32)[prediction] * 5
    return measure(label.astype(np.int32), logits, "abcdefgh"[: len(confusion)], resamples=200)


def test_a_verdict_names_accuracy_baseline_hardest_class_and_worst_confusion():
    said = verdict(judged([[70, 5, 0], [0, 15, 0], [1, 0, 9]]), "test")
    assert said.startswith("Right on 94.0 % of 100 test images (95 % interval ")
    assert "better than always answering “a”, the most frequent class (75.0 %)" in said
    assert "hardest class is “b” (F1 85.7 %)" in said
    assert said.endswith("to take “a” for “b” (5 of 75).")
    assert said.count(". ") == 0


@pytest.mark.parametrize(
    ("confusion", "words"),
    [
        ([[90, 0], [10, 0]], "which is not clearly better than always answering “a”"),
        ([[10, 80], [10, 0]], "which is worse than always answering “a”"),
        ([[40, 0], [0, 40]], "no image is misclassified."),
        ([[5, 0], [0, 0]], "all are of one class, “a”: a constant answer does as well."),
    ],
)
def test_a_verdict_does_not_praise_what_is_not_good(confusion, words):
    assert words in verdict(judged(confusion), "test")


def test_without_images_the_verdict_says_why_nothing_is_known():
    none = measure(np.zeros(0, np.int32), np.zeros((0, 2), np.float32), "ab", resamples=10)
    assert verdict(none, "test") == (
        "How good the model is on test images is not known: there are no examples."
    )


def test_a_baseline_from_training_is_taken_where_it_is_given():
    assert "(33.0 %)" in verdict(measured(5), "validation", baseline=0.33)


def test_splits_that_flatter_and_images_left_out_are_told():
    assert split_note("test") is None and unreadable_note(0) is None
    assert "flatter" in split_note("validation").what
    assert split_note("train").serious
    assert unreadable_note(1).what == "1 image could not be read and is not counted."
