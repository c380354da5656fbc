"""What losses over learning rates say, on curves whose answer is known."""

import math

import numpy as np
import pytest

from jaxcnn.search.learning_rate_range import has_diverged, read_losses, smooth

RATES = np.geomspace(1e-6, 10, 100)


def valley(least=0.05, noise=0.0, seed=0):
    """Flat, then falling to 0.5 at `least`, then exploding."""
    distance = np.log10(RATES / least)
    falling = 2.5 - 2.0 / (1 + np.exp(-3 * (distance + 1.5)))
    loss = np.where(distance < 0, falling, falling + 3 * distance**2)
    return loss + noise * np.random.default_rng(seed).normal(size=len(RATES))


@pytest.mark.parametrize("least", [1e-3, 0.05])
@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_the_suggestion_is_a_tenth_of_the_rate_of_the_least_loss(least, noise):
    found = read_losses(RATES, valley(least, noise))
    assert least / 3 < found.least < least * 3
    assert found.suggested == found.least / 10
    assert found.steepest < found.least
    assert f"{found.least:.2g}" in found.reason
    if not noise:
        assert 10 < least / found.steepest < 100  # the middle of the fall: 10^1.5 below


def test_losses_that_have_exploded_do_not_hide_the_valley():
    loss = valley()
    exploded = loss.copy()
    exploded[-8:] = [1e3, 1e6, 1e9, 1e12, 1e15, math.inf, math.nan, math.nan]
    plain, found = read_losses(RATES, loss), read_losses(RATES, exploded)
    assert np.isfinite(found.smoothed).all()
    assert found.least == pytest.approx(plain.least, rel=0.5)


def test_a_loss_that_never_falls_suggests_nothing():
    for loss in (np.full(100, 2.3), np.linspace(2.3, 9, 100)):
        found = read_losses(RATES, loss)
        assert found.suggested is None and found.least is None and "never fell" in found.reason


def test_smoothing_shifts_nothing():
    step = np.repeat([2.0, 1.0], 50)
    assert np.abs(smooth(step) - 1.5).argmin() in (49, 50)
    assert smooth(np.full(30, 1.5)) == pytest.approx(np.full(30, 1.5))


def test_diverging_is_four_times_the_least_or_no_number():
    rising = [2.0, 1.0, 1.0, 3.0, 3.0, 30.0, 30.0]
    assert not any(has_diverged(rising[:count]) for count in range(1, 6))
    assert has_diverged(rising)
    assert has_diverged([math.nan]) and has_diverged([math.inf]) and has_diverged([1.0, math.inf])
    assert not has_diverged([1.0, 3.9])  # one outlier is none of 4 times the average
