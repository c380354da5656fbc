"""Weighted rankings are what scikit-learn gives for sample weights, or for repeated examples."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from jaxcnn.analysis.ranking import class_means, one_vs_rest, ranking


@settings(max_examples=100, deadline=None)
@given(st.integers(2, 40), st.integers(1, 9), st.integers(0, 2**32 - 1))
def test_rankings_equal_scikit_learn_for_any_weights_and_ties(size, levels, seed):
    random = np.random.default_rng(seed)
    score = random.integers(levels, size=size) / 7
    positive = random.integers(2, size=size).astype(bool)
    positive[:2] = True, False
    weights = random.integers(4, size=(size, 3)).astype(np.float64)
    weights[:2] = 1
    found = ranking(score, positive, weights)
    for column in range(3):
        used = weights[:, column]
        area = roc_auc_score(positive, score, sample_weight=used)
        precision = average_precision_score(positive, score, sample_weight=used)
        assert found.roc_auc[column] == pytest.approx(area, abs=1e-12)
        assert found.average_precision[column] == pytest.approx(precision, abs=1e-12)


def test_a_weight_of_two_is_the_example_twice():
    random = np.random.default_rng(0)
    score, positive = random.random(50), random.random(50) < 0.3
    often = random.integers(3, size=50)
    weighted = ranking(score, positive, often[:, None].astype(np.float64))
    repeated = ranking(np.repeat(score, often), np.repeat(positive, often))
    for one, other in zip(weighted, repeated, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-12)


def test_one_kind_alone_cannot_be_ranked():
    score = np.array([0.1, 0.5])
    assert np.isnan(ranking(score, np.array([True, True])).roc_auc)
    found = ranking(score, np.array([False, False]))
    assert np.isnan(found.roc_auc) and np.isnan(found.average_precision)


def test_equal_scores_for_all_are_chance():
    positive = np.arange(10) < 3
    found = ranking(np.full(10, 0.5), positive)
    assert found.roc_auc == 0.5 and found.average_precision == pytest.approx(0.3)


def test_columns_may_be_some_of_the_classes():
    random = np.random.default_rng(0)
    label, score = random.integers(5, size=80), random.random((80, 5))
    part = one_vs_rest(label, score[:, 2:4], classes=[2, 3])
    np.testing.assert_array_equal(part.roc_auc, one_vs_rest(label, score).roc_auc[2:4])


def test_undefined_classes_are_left_out_of_means():
    values, weight = np.array([[0.5], [np.nan], [1.0]]), np.array([[1.0], [5.0], [3.0]])
    macro, weighted = class_means(values, weight)
    assert macro == 0.75 and weighted == pytest.approx(0.875)
    assert np.isnan(class_means(np.array([[np.nan]]), np.array([[0.0]]))[0])
