"""Two models on the same examples."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from jaxcnn.analysis.paired import compare_paired, mcnemar


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 60), st.integers(0, 60))
def test_the_exact_p_value_is_the_sign_tests_and_mid_p_is_smaller(only_a, only_b):
    exact, mid = mcnemar(only_a, only_b)
    coins = only_a + only_b
    expected = binomtest(only_a, coins).pvalue if coins else 1.0
    assert exact == pytest.approx(expected, rel=1e-9)
    assert mid < exact or coins == 0
    assert mcnemar(only_b, only_a) == (exact, mid)


def test_mid_p_counts_half_of_what_was_seen():
    # Two or fewer heads of nine: (1 + 9 + 36) / 512 on either side; the 36 counts half.
    assert mcnemar(2, 7) == pytest.approx((2 * 46 / 512, 2 * (46 - 18) / 512))
    # Two of four is on both sides, and counts half in all.
    assert mcnemar(2, 2) == pytest.approx((1.0, 1 - 3 / 16))


def test_many_examples_are_no_trouble():
    exact, mid = mcnemar(40_000, 41_000)
    assert 0 < mid < exact < 1e-3


def test_mid_p_is_wrong_about_equal_models_one_time_in_twenty():
    random = np.random.default_rng(0)
    only_a = random.binomial(60, 0.5, size=2000)
    rejected = np.mean([mcnemar(int(a), 60 - int(a))[1] < 0.05 for a in only_a])
    assert 0.03 < rejected < 0.065


def predictions(size=400, seed=0):
    """Labels, a model that is right in 70 %, and one that is right in 80 %."""
    random = np.random.default_rng(seed)
    label = random.integers(4, size=size)
    a, b = (np.where(random.random(size) < p, label, (label + 1) % 4) for p in (0.7, 0.8))
    return label, a, b


def test_differences_are_b_minus_a_with_intervals():
    label, a, b = predictions()
    loss_a, loss_b = (np.where(called == label, 0.1, 2.0) for called in (a, b))
    found = compare_paired(label, a, b, loss_a, loss_b)
    difference = (b == label).mean() - (a == label).mean()
    assert found.accuracy_difference.value == pytest.approx(difference)
    assert found.accuracy_difference.low < difference < found.accuracy_difference.high
    assert found.loss_difference.value == pytest.approx((loss_b - loss_a).mean())
    # Here the loss is the accuracy in other units: so are the intervals, but for chance.
    width = found.accuracy_difference.high - found.accuracy_difference.low
    loss_width = found.loss_difference.high - found.loss_difference.low
    assert loss_width == pytest.approx(1.9 * width, rel=0.1)
    parts = (found.both_right, found.only_a, found.only_b, found.both_wrong)
    assert sum(parts) == found.num_examples == 400
    assert json.dumps(found.to_json(), allow_nan=False)


def test_intervals_of_the_difference_hold_the_truth():
    found = [compare_paired(*predictions(200, seed), resamples=300) for seed in range(300)]
    held = [f.accuracy_difference.low <= 0.1 <= f.accuracy_difference.high for f in found]
    assert 0.91 <= np.mean(held) <= 0.98


def test_a_model_does_not_differ_from_itself():
    label, a, _ = predictions()
    found = compare_paired(label, a, a)
    assert found.p_value == found.p_value_mid == 1
    assert found.accuracy_difference.value == 0 and found.accuracy_difference.reason
    assert found.loss_difference is None and "loss_difference" not in found.to_json()


def test_no_examples_give_null():
    nothing = np.zeros(0, np.int64)
    found = compare_paired(nothing, nothing, nothing, nothing * 0.5, nothing * 0.5)
    assert found.p_value is None and found.accuracy_difference.value is None
    assert found.loss_difference.reason == "there are no examples"


def test_models_with_different_examples_are_refused():
    label, a, b = predictions()
    with pytest.raises(ValueError, match="same examples"):
        compare_paired(label, a, b[1:])
