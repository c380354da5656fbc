"""Labels and logits for the tests of what is computed from them."""

import numpy as np
from hypothesis import strategies as st


def problem(size, num_classes, *, right=2.0, labels=None, seed=0):
    """(int32[N], float32[N, K]) of a model that is right the more often the larger `right`."""
    random = np.random.default_rng(seed)
    label = random.choice(num_classes if labels is None else labels, size).astype(np.int32)
    logits = random.standard_normal((size, num_classes), np.float32)
    logits[np.arange(size), label] += right
    return label, logits


@st.composite
def problems(draw, min_size=0, min_classes=1):
    """Small ones: classes absent among the labels or never predicted, equal scores, one class."""
    num_classes = draw(st.integers(min_classes, 7))
    size = draw(st.integers(min_size, 30))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    used = draw(st.lists(st.integers(0, num_classes - 1), min_size=1, max_size=num_classes))
    label = random.choice(used, size).astype(np.int32)
    logits = random.standard_normal((size, num_classes), np.float32)
    if draw(st.booleans()):
        logits = np.round(logits)  # ties
    logits[np.arange(size), label] += draw(st.sampled_from([-3, 0, 1, 9]))
    if draw(st.booleans()):
        logits[:, draw(st.integers(0, num_classes - 1))] -= 20
    return label, logits


def names(num_classes):
    return [f"class {k}" for k in range(num_classes)]
