"""Medians, quartiles, and the order in which things take turns."""

from jaxcnn.timing.speed_table import apart, in_rounds, spread


def test_one_round_that_was_disturbed_moves_nothing():
    calm, disturbed = spread([10, 11, 12, 13, 14]), spread([10, 11, 12, 13, 1000])
    assert disturbed[:3] == calm[:3] == (12, 11, 13)


def test_what_overlaps_is_not_apart_and_what_was_measured_once_cannot_be():
    slow, between, fast = (
        spread([low, low + 1, low + 2, low + 2, low + 3]) for low in (10, 11, 20)
    )
    assert apart(slow, fast) and apart(fast, slow)
    assert apart(slow, between) is False
    assert apart(slow, spread([50, 51, 52, 53])) is None


def test_ways_take_turns_there_and_back():
    order = []

    def way(name):
        return lambda: order.append(name) or {name: len(order)}

    told = []
    found = in_rounds([way("a"), way("b"), way("c")], 3, told.append)
    assert "".join(order) == "abccbaabc"
    assert found == {"a": [1, 6, 7], "b": [2, 5, 8], "c": [3, 4, 9]}
    assert told == [1, 2, 3]
