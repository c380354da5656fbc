"""Scores grow with how foreign an image is."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import logsumexp, softmax
from sklearn.metrics import roc_auc_score

from jaxcnn.core.metrics import OUTLIER_SCORES, energy, max_softmax
from tests.core.test_augment_battery import make_batch

LOGITS = arrays(np.float32, (5, 4), elements=st.floats(-50, 50, width=32))


@settings(deadline=None)  # the first call compiles
@given(LOGITS, st.sampled_from([0.5, 1.0, 10.0]))
def test_scores_are_those_of_the_papers(logits, temperature):
    exact = logits.astype(np.float64)
    largest = softmax(exact, -1).max(-1)
    np.testing.assert_allclose(max_softmax(logits), 1 - largest, atol=1e-6)
    expected = -temperature * logsumexp(exact / temperature, -1)
    np.testing.assert_allclose(energy(logits, temperature), expected, rtol=1e-5, atol=1e-5)


@settings(deadline=None)  # the first call compiles
@given(LOGITS, st.floats(-100, 100, width=32))
def test_only_energy_sees_what_all_logits_have_in_common(logits, shift):
    np.testing.assert_allclose(max_softmax(logits + shift), max_softmax(logits), atol=1e-4)
    np.testing.assert_allclose(energy(logits + shift), energy(logits) - shift, atol=1e-3)


@pytest.mark.parametrize("name", OUTLIER_SCORES)
def test_digits_look_less_foreign_than_pieces_of_photos(name, reader):
    photos = make_batch(1, 8, 8, size=256)["image"]
    score = jax.jit(lambda image: OUTLIER_SCORES[name](reader.predict(image)))
    own, foreign = score(reader.batch["image"]), score(photos)
    assert own.shape == (256,) and own.dtype == np.float32
    area = roc_auc_score(np.repeat([0, 1], 256), np.concatenate([own, foreign]))
    assert area > 0.65  # chance is 0.5, with a standard deviation of 0.026


def test_a_temperature_that_is_none_is_named():
    with pytest.raises(ValueError, match="temperature=0: expected a number above 0"):
        energy(np.zeros((1, 2), np.float32), 0)
