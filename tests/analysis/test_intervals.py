"""Intervals: resamples are multinomial, percentiles NumPy's, and 95 % hold the truth."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from jaxcnn.analysis.counts import class_estimates, confusion_counts, count_metrics
from jaxcnn.analysis.intervals import (
    grouped_sums,
    mean_estimates,
    percentiles,
    resample,
    resample_margins,
    resample_weights,
    share_estimate,
    wilson,
)
from jaxcnn.core.metrics import Margins, margins

# Few examples a cell are drawn one by one, many a cell are drawn cell by cell.
COUNTS = {"one by one": np.array([3, 1, 2, 1]), "cell by cell": np.array([300, 100, 200, 100])}


@pytest.mark.parametrize("counts", COUNTS.values(), ids=COUNTS.keys())
def test_resamples_are_multinomial(counts):
    draws = np.concatenate(list(resample(counts, 20_000, seed=0)))
    total, share = counts.sum(), counts / counts.sum()
    assert draws.shape == (20_000, 4) and (draws.sum(1) == total).all()
    np.testing.assert_allclose(draws.mean(0), counts, rtol=0.03)
    covariance = total * (np.diag(share) - np.outer(share, share))
    np.testing.assert_allclose(np.cov(draws.T), covariance, atol=0.04 * covariance.max())


def test_blocks_of_resamples_join_to_as_many_as_wanted():
    blocks = list(resample(np.ones(700_000, np.int64), 5, seed=0))
    assert [len(block) for block in blocks] == [2, 2, 1]


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 6), st.integers(0, 40), st.integers(0, 2**32 - 1))
def test_resampled_margins_are_the_margins_of_resampled_matrices(num_classes, size, seed):
    random = np.random.default_rng(seed)
    confusion = confusion_counts(*random.integers(num_classes, size=(2, size)), num_classes)
    drawn = resample_margins(confusion, 7, seed)
    matrices = np.zeros((7, num_classes, num_classes), np.int64)
    if size:
        cells = np.concatenate(list(resample(confusion[confusion > 0], 7, seed)))
        matrices[:, confusion > 0] = cells
    for one, other in zip(drawn, margins(matrices), strict=True):
        np.testing.assert_array_equal(one, other)


def test_metrics_of_many_matrices_are_those_of_each():
    matrices = np.random.default_rng(0).poisson(1.0, (20, 5, 5))
    together = count_metrics(margins(matrices))
    for position, matrix in enumerate(matrices):
        for name, value in count_metrics(margins(matrix)).items():
            np.testing.assert_allclose(together[name][position], value, rtol=1e-12)


def test_resamples_without_the_class_do_not_count():
    counts = Margins(*(np.array([n]) for n in (2.0, 4.0, 4.0)))
    there = np.linspace(1, 3, 20)[:, None]
    resampled = Margins(
        *(np.concatenate([n, 0 * n]) for n in (there, 0 * there + 4, 0 * there + 4))
    )
    for name, (found,) in class_estimates(counts, resampled).items():
        assert found.low == pytest.approx(np.quantile(there / 4, 0.025)), name


@settings(max_examples=50, deadline=None)
@given(st.integers(2, 50), st.integers(0, 2**32 - 1))
def test_percentiles_are_numpys_without_the_undefined(resamples, seed):
    random = np.random.default_rng(seed)
    draws = random.random((resamples, 4))
    draws[random.random(draws.shape) < 0.2] = np.nan
    draws[:2] = [[0.4], [0.6]]
    low, high = percentiles(np.full(4, 0.5), draws)
    expected = np.nanquantile(draws, [0.025, 0.975], axis=0)
    np.testing.assert_allclose(low, np.minimum(expected[0], 0.5))
    np.testing.assert_allclose(high, np.maximum(expected[1], 0.5))


def test_an_interval_holds_its_value_and_equal_draws_give_none():
    draws = np.linspace(0.2, 0.4, 100)
    low, high = percentiles(np.float64(0.1), draws)
    assert low == 0.1 and high == pytest.approx(0.395)
    assert np.isnan(percentiles(np.float64(1.0), np.ones(50))).all()
    assert np.isnan(percentiles(np.float64(0.5), np.full(50, np.nan))).all()


@pytest.mark.parametrize(("hits", "total"), [(0, 1), (1, 1), (3, 8), (50, 50), (997, 1000)])
def test_wilson_is_scipys(hits, total):
    expected = binomtest(hits, total).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson(hits, total), expected, rtol=1e-9, atol=1e-15)


def test_wilson_of_nothing_is_nothing():
    assert np.isnan(wilson(0, 0)).all()


def test_intervals_of_accuracy_hold_the_truth_in_95_of_100_test_sets():
    random = np.random.default_rng(0)
    found = [share_estimate(int(random.binomial(200, 0.8)), 200, 500, n) for n in range(400)]
    held = np.mean([estimate.low <= 0.8 <= estimate.high for estimate in found])
    assert 0.92 <= held <= 0.98


def test_intervals_of_means_hold_the_truth_and_agree_above_the_limit():
    random = np.random.default_rng(0)
    found = mean_estimates(random.exponential(1.0, (300, 150)), 300, seed=0)
    held = np.mean([estimate.low <= 1.0 <= estimate.high for estimate in found])
    assert 0.89 <= held <= 0.98
    values = random.exponential(1.0, (1, 100_001))
    (normal,), (drawn,) = (mean_estimates(v, 400, seed=0) for v in (values, values[:, 1:]))
    assert normal.high - normal.low == pytest.approx(drawn.high - drawn.low, rel=0.15)


def test_weights_add_to_the_examples_in_each_resample():
    weights = np.concatenate(list(resample_weights(30, 50, seed=0)), axis=1)
    assert weights.shape == (30, 50) and (weights.sum(0) == 30).all()
    assert list(resample_weights(0, 50, seed=0)) == []


@pytest.mark.parametrize("columns", [1, 4])
def test_sums_by_group(columns):
    random = np.random.default_rng(0)
    group, weights = random.integers(5, size=40), random.random((40, columns))
    expected = [weights[group == g].sum(0) for g in range(7)]
    np.testing.assert_allclose(grouped_sums(group, weights, 7), expected, atol=1e-12)
