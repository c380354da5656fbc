"""Values are held against the type hints of what takes them."""

import pytest

from jaxcnn.config.table import describe, matches


@pytest.mark.parametrize(
    ("hint", "fit", "misfit", "words"),
    [
        (int, [0, -3], [1.0, True, "1", None], "a whole number"),
        (float, [0.5, 3], [True, "1", None], "a number"),
        (bool, [True], [1, "True"], "True or False"),
        (str, ["x"], [1, None], "a name"),
        (tuple[int, ...], [(), (1, 2)], [1, (1, "a"), [1]], "a tuple of whole numbers"),
        (tuple, [(1, "a")], [1], "a tuple"),
        (int | None, [1, None], [1.5, "x"], "a whole number"),
        (int | tuple[int, ...], [1, (1,)], [1.5], "a whole number or a tuple of whole numbers"),
    ],
)
def test_values_are_matched_with_hints_and_hints_said_in_words(hint, fit, misfit, words):
    assert all(matches(value, hint) for value in fit)
    assert not any(matches(value, hint) for value in misfit)
    assert describe(hint) == words
