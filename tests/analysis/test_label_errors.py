"""Wrong labels come first in the list of suspects."""

import numpy as np
from hypothesis import given, settings

from jaxcnn.analysis.outcomes import Suspect, likely_label_errors, probabilities
from tests.analysis.problems import problem, problems


def by_definition(label, share):
    """The confident joint off its diagonal, one example at a time."""
    classes = sorted(set(label.tolist()))
    threshold = {k: share[label == k, k].mean() for k in classes}
    for position, own in enumerate(label):
        confident = [k for k in classes if share[position, k] >= threshold[k]]
        if confident:
            best = max(confident, key=lambda k: share[position, k])
            if best != own and share[position, best] > share[position, own]:
                yield position, best


@settings(max_examples=60, deadline=None)
@given(problems())
def test_suspects_are_the_confident_joint_off_its_diagonal(case):
    label, logits = case
    share = probabilities(logits, dtype=np.float64)
    found = likely_label_errors(label, share, at_most=100)
    assert {(s.position, s.suggestion) for s in found} == set(by_definition(label, share))
    assert [s.margin for s in found] == sorted((s.margin for s in found), reverse=True)


def test_nearly_all_labels_that_were_changed_are_found_and_no_others():
    label, logits = problem(500, 5, right=6.0)
    changed = np.arange(0, 500, 50)
    given_label = label.copy()
    given_label[changed] = (label[changed] + 1) % 5
    found = likely_label_errors(given_label, probabilities(logits), at_most=10)
    # Some look less like their class than its mean example does.
    assert len(found) >= 7 and {suspect.position for suspect in found} < set(changed.tolist())
    for suspect in found:
        assert suspect.suggestion == label[suspect.position]
        assert suspect.label == given_label[suspect.position]


def test_as_probable_as_the_mean_is_confident():
    share = np.array([[0.25, 0.75], [0.25, 0.75], [0.5, 0.5]])
    assert likely_label_errors(np.array([0, 1, 0]), share, 9) == [Suspect(0, 0, 1, 0.5)]


def test_there_are_at_most_as_many_as_wanted():
    assert len(likely_label_errors(*noise(), at_most=3)) == 3


def noise():
    label, logits = problem(200, 3, right=0.0)
    return label, probabilities(logits)
