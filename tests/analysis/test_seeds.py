"""Statistics over seeds are those of the textbook."""

import json
import math

import numpy as np
import pytest
from scipy import stats

from jaxcnn.analysis.seeds import over_seeds, seeds_eval, seeds_headline

ACCURACY = (0.9944, 0.9944, 0.9972, 0.9916, 0.9944)


def evaluated(accuracy, **more):
    return {
        "split": "test",
        "checkpoint_step": 506,
        "num_examples": 359,
        "loss": 2 * (1 - accuracy),
        "accuracy": accuracy,
    } | more


def test_the_interval_is_that_of_student():
    found = over_seeds({seed: evaluated(value) for seed, value in enumerate(ACCURACY)})
    assert set(found) == {"loss", "accuracy"}
    accuracy = found["accuracy"]
    expected = stats.t.interval(0.95, 4, loc=np.mean(ACCURACY), scale=stats.sem(ACCURACY))
    assert np.allclose((accuracy.low, accuracy.high), expected, rtol=1e-12)
    assert math.isclose(accuracy.std, np.std(ACCURACY, ddof=1))
    assert accuracy.values == ACCURACY
    # By the table of the t distribution: 2.776 for 4 degrees of freedom.
    assert accuracy.half_width == pytest.approx(2.776 * accuracy.std / math.sqrt(5), rel=1e-3)


def test_the_interval_holds_the_mean_in_19_cases_of_20():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(2000):
        draws = rng.normal(0.9, 0.02, size=3)
        found = over_seeds({k: {"accuracy": float(value)} for k, value in enumerate(draws)})
        held += found["accuracy"].low <= 0.9 <= found["accuracy"].high
    assert 0.94 < held / 2000 < 0.96


def test_values_are_in_the_order_of_the_seeds():
    found = over_seeds({7: evaluated(0.7), 0: evaluated(0.5), 3: evaluated(0.6)})
    assert found["accuracy"].values == (0.5, 0.6, 0.7)


def test_what_some_seed_lacks_or_has_no_number_for_is_left_out():
    odd = [
        evaluated(0.5, auc=None, note="a", fine=True, ece=math.nan, count=3),
        evaluated(0.6, auc=0.5, note="b", fine=False, ece=0.1, count=4),
    ]
    assert set(over_seeds(dict(enumerate(odd)))) == {"loss", "accuracy", "count"}
    with pytest.raises(ValueError, match="at least one"):
        over_seeds({})


def test_one_seed_has_a_mean_and_says_that_its_luck_is_not_known():
    content = seeds_eval({4: evaluated(0.9944)})
    assert content["accuracy"] == 0.9944 and content["seeds"] == [4]
    assert content["std"]["accuracy"] is None and content["ci95"]["accuracy"] is None
    assert "not known" in seeds_headline(content)


def test_the_parents_eval_json_holds_means_deviations_and_intervals():
    content = seeds_eval({seed: evaluated(value) for seed, value in enumerate(ACCURACY)})
    assert json.loads(json.dumps(content)) == content
    assert list(content) == ["split", "num_examples", "seeds", "loss", "accuracy", "std", "ci95"]
    assert content["accuracy"] == pytest.approx(0.9944) and content["num_examples"] == 359
    low, high = content["ci95"]["accuracy"]
    assert low < 0.9944 < high and content["std"].keys() == content["ci95"].keys()
    assert seeds_headline(content) == (
        "test accuracy 99.44 % ± 0.25 (95 % interval of the mean of 5 seeds)"
    )


def test_seeds_on_different_images_are_refused():
    with pytest.raises(ValueError, match="num_examples"):
        seeds_eval({0: evaluated(0.5), 1: evaluated(0.5, num_examples=10)})
