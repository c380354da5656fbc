"""Answers to many images, some at a time."""

from collections.abc import Callable

import numpy as np

# Images that are answered at once, at most: more would take memory and hardly be faster.
MOST_AT_ONCE = 64


def in_parts(
    run: Callable[[np.ndarray], np.ndarray],
    image: np.ndarray,
    most: int = MOST_AT_ONCE,
    filled: Callable[[int], int] = lambda count: count,
) -> np.ndarray:
    """run(image) for so many images at a time; a part of n is filled up to filled(n) of them, and
    what is said of those that fill is left out.
    """
    found = []
    for start in range(0, len(image), most):
        part = image[start : start + most]
        missing = np.zeros((filled(len(part)) - len(part), *part.shape[1:]), part.dtype)
        found.append(run(np.concatenate([part, missing]))[: len(part)])
    return np.concatenate(found)
