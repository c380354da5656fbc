"""Calibration: the error is Guo's, and the fitted temperature is the best there is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn.analysis.calibration import expected_calibration_error, fit_temperature, reliability
from jaxcnn.analysis.outcomes import outcomes, probabilities
from tests.analysis.problems import problem, problems


def error_by_definition(correct, confidence, bins=15):
    total = 0.0
    for place in range(bins):
        inside = (confidence > place / bins) & (confidence <= (place + 1) / bins)
        if inside.any():
            total += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return total


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 80), st.integers(0, 2**32 - 1))
def test_the_error_is_the_mean_gap_between_confidence_and_accuracy(size, seed):
    random = np.random.default_rng(seed)
    confidence, correct = random.random(size), random.random(size) < 0.6
    found = expected_calibration_error(correct, confidence)
    assert found == pytest.approx(error_by_definition(correct, confidence), abs=1e-12)
    bins = reliability(correct, confidence)
    gaps = np.abs(bins.accuracy - bins.confidence)
    assert found == pytest.approx(np.nansum(gaps * bins.count) / size, abs=1e-12)


def test_a_weight_of_two_is_the_example_twice():
    random = np.random.default_rng(0)
    confidence, correct = random.random(60), random.random(60) < 0.6
    often = random.integers(3, size=(60, 2))
    weighted = expected_calibration_error(correct, confidence, often.astype(float))
    for column, found in enumerate(weighted):
        repeated = (np.repeat(values, often[:, column]) for values in (correct, confidence))
        assert found == pytest.approx(error_by_definition(*repeated), abs=1e-12)


def test_bins_hold_their_upper_edge_and_empty_ones_are_null():
    bins = reliability(np.array([True, False, True]), np.array([1.0, 0.2, 0.2001]), bins=5)
    assert bins.count.tolist() == [1, 1, 0, 0, 1]
    shown = bins.to_json()
    assert shown["accuracy"] == [0.0, 1.0, None, None, 1.0]
    assert shown["confidence"][2:] == [None, None, 1.0]
    assert all(type(count) is int for count in shown["count"])


@pytest.mark.parametrize("truth", [0.3, 1.0, 4.0])
def test_the_temperature_of_the_labels_is_found(truth):
    random = np.random.default_rng(0)
    logits = random.normal(0, 2, (20_000, 5)).astype(np.float32)
    edges = probabilities(logits, truth, np.float64).cumsum(1)
    label = (edges < random.random((20_000, 1))).sum(1).clip(max=4)
    assert fit_temperature(label, logits) == pytest.approx(truth, rel=0.05)


@settings(max_examples=40, deadline=None)
@given(problems(min_size=1))
def test_no_temperature_is_better_than_the_fitted(case):
    label, logits = case
    best = outcomes(label, logits, fit_temperature(label, logits)).loss.mean()
    for other in np.geomspace(0.05, 20, 50):
        assert best <= outcomes(label, logits, other).loss.mean() + 1e-9


def test_degenerate_cases_end_at_a_bound_or_at_one():
    label, logits = problem(50, 3, right=40.0)
    assert fit_temperature(label, logits) == 0.05
    assert fit_temperature((label + 1) % 3, logits) == 20
    assert fit_temperature((label + 1) % 3, logits * 1e6) == 20
    assert fit_temperature(label, np.ones((50, 3), np.float32)) == 1
    assert fit_temperature(label[:0], logits[:0]) == 1
    assert fit_temperature(np.zeros(5, int), np.ones((5, 1), np.float32)) == 1
