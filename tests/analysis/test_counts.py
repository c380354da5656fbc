"""Which classes are confused, and an order in which they stand side by side."""

import numpy as np

from jaxcnn.analysis.counts import Confusion, cluster_order, worst_confusions


def test_the_largest_counts_come_first_of_equal_ones_the_larger_share():
    confusion = np.array([[90, 4, 6], [4, 4, 0], [0, 6, 14]])
    assert worst_confusions(confusion) == [
        Confusion(2, 1, 6, 0.3),
        Confusion(0, 2, 6, 0.06),
        Confusion(1, 0, 4, 0.5),
        Confusion(0, 1, 4, 0.04),
    ]
    assert len(worst_confusions(confusion, at_most=2)) == 2


def test_a_perfect_model_confuses_nothing():
    assert worst_confusions(np.diag([3, 0, 2])) == []


def test_classes_that_are_confused_stand_side_by_side():
    random = np.random.default_rng(0)
    hidden = random.permutation(12)  # three in a row of this are confused with each other
    confusion = np.diag(np.full(12, 50))
    for start in range(0, 12, 3):
        trio = hidden[start : start + 3]
        confusion[np.ix_(trio, trio)] += random.integers(10, 20, (3, 3))
    order = cluster_order(confusion)
    found = {frozenset(order[start : start + 3]) for start in range(0, 12, 3)}
    assert found == {frozenset(hidden[start : start + 3]) for start in range(0, 12, 3)}


def test_any_number_of_classes_has_an_order_also_without_examples():
    for classes in (0, 1, 2, 3, 30, 250):
        order = cluster_order(np.zeros((classes, classes), np.int64))
        assert sorted(order.tolist()) == list(range(classes))
