"""Metrics equal scikit-learn's, also where classes are absent, scores tie or there is one class."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)
from sklearn.metrics import confusion_matrix as sklearn_confusion

from jaxcnn.core.losses import cross_entropy
from jaxcnn.core.metrics import confusion_matrix, correct_in_top_k, margins, per_class, summarize


@jax.jit
def sums_of(logits, label, mask):
    """What the evaluation step adds up for one batch."""
    return {
        "loss": jnp.where(mask, cross_entropy(logits, label), 0.0).sum(),
        "top5": (correct_in_top_k(logits, label, 5) & mask).sum(),
        "confusion": confusion_matrix(label, logits.argmax(-1), mask, logits.shape[-1]),
    }


def sums(logits, label, mask=None):
    mask = np.ones(len(label), bool) if mask is None else mask
    return jax.device_get(sums_of(logits, label, mask))


def scores(num_classes, size=210, seed=0, labels=None):
    """Logits that are right more often than not: (float32[size, K], int32[size])."""
    random = np.random.default_rng(seed)
    label = random.choice(num_classes if labels is None else labels, size).astype(np.int32)
    logits = random.normal(0, 1, (size, num_classes)).astype(np.float32)
    logits[np.arange(size), label] += 1
    return logits, label


def never_predicting(k, logits, label):
    logits = logits.copy()
    logits[:, k] = -50
    return logits, label


LABEL = np.arange(210, dtype=np.int32) % 7

CASES = {
    "seven classes": scores(7),
    "two classes": scores(2),
    "one class in the data set": scores(1),
    "a class without examples": scores(7, labels=[0, 1, 3, 4, 5, 6]),
    "a class never predicted": never_predicting(3, *scores(7)),
    "a class that does not occur at all": never_predicting(2, *scores(7, labels=[0, 1, 3])),
    "all examples of one class": scores(7, labels=[4]),
    "all right": (np.eye(7, dtype=np.float32)[LABEL], LABEL),
    "all wrong": (np.eye(7, dtype=np.float32)[LABEL - 1], LABEL),
    "every example of a class of its own": (scores(7)[0][:7], np.arange(7, dtype=np.int32)),
}


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request):
    return request.param


@pytest.mark.parametrize("average", ["macro", "micro", "weighted"])
def test_precision_recall_and_f1_equal_scikit_learn(case, average):
    logits, label = case
    summary = summarize(sums(*case))
    expected = precision_recall_fscore_support(
        label, logits.argmax(-1), average=average, zero_division=0
    )
    for name, value in zip(("precision", "recall", "f1"), expected, strict=False):
        assert summary[f"{name}_{average}"] == pytest.approx(value, abs=1e-12), name


def test_each_class_equals_scikit_learn(case):
    logits, label = case
    counts = margins(sums(*case)["confusion"])
    classes = per_class(counts) | {"support": counts.support}
    expected = precision_recall_fscore_support(
        label, logits.argmax(-1), labels=range(logits.shape[1]), zero_division=0
    )
    for name, values in zip(("precision", "recall", "f1", "support"), expected, strict=True):
        np.testing.assert_allclose(classes[name], values, atol=1e-12, err_msg=name)


@pytest.mark.filterwarnings("ignore:A single label was found")
def test_accuracy_and_counts_equal_scikit_learn(case):
    logits, label = case
    classes = list(range(logits.shape[1]))
    found = sums(*case)
    summary = summarize(found)
    assert summary["num_examples"] == len(label)
    assert summary["accuracy"] == pytest.approx(accuracy_score(label, logits.argmax(-1)))
    np.testing.assert_array_equal(
        found["confusion"], sklearn_confusion(label, logits.argmax(-1), labels=classes)
    )


def test_the_loss_equals_scikit_learn():
    logits, label = scores(7)
    probabilities = np.asarray(jax.nn.softmax(logits.astype(np.float64)))
    expected = log_loss(label, probabilities / probabilities.sum(1, keepdims=True))
    assert summarize(sums(logits, label))["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("num_classes", [6, 7])
def test_top5_equals_scikit_learn(num_classes):
    logits, label = scores(num_classes)
    expected = top_k_accuracy_score(label, logits, k=5, labels=range(num_classes))
    assert summarize(sums(logits, label))["top5_accuracy"] == pytest.approx(expected)


@pytest.mark.parametrize("num_classes", [1, 2, 5])
def test_there_is_no_top5_of_five_classes_or_fewer(num_classes):
    assert "top5_accuracy" not in summarize(sums(*scores(num_classes)))


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_among_tied_scores_the_lower_class_comes_first(k):
    logits, label = scores(7)
    logits = np.round(logits)  # ties in almost every row
    ours = np.asarray(correct_in_top_k(jnp.asarray(logits), jnp.asarray(label), k))
    # scikit-learn puts the higher class first: with the classes reversed it ranks as we do.
    reversed_score = top_k_accuracy_score(6 - label, logits[:, ::-1], k=k, labels=range(7))
    assert ours.mean() == pytest.approx(reversed_score)


def test_top1_is_argmax_also_where_scores_tie():
    logits, label = np.round(scores(7)[0]), scores(7)[1]
    top1 = correct_in_top_k(jnp.asarray(logits), jnp.asarray(label), 1)
    np.testing.assert_array_equal(top1, logits.argmax(-1) == label)


def test_a_nan_among_the_logits_is_never_correct():
    logits = jnp.array([[3.0, jnp.nan, 1.0], [jnp.nan] * 3, [3.0, 2.0, 1.0]])
    correct = correct_in_top_k(logits, jnp.zeros(3, jnp.int32), 3)
    assert correct.tolist() == [False, False, True]


def test_masked_examples_do_not_count():
    logits, label = scores(7)
    mask = np.arange(210) < 205
    padded = summarize(sums(logits, label, mask))
    assert padded == pytest.approx(summarize(sums(logits[:205], label[:205])))


def test_sums_of_batches_add_to_the_sums_of_the_whole():
    logits, label = scores(7)
    parts = [sums(logits[i : i + 70], label[i : i + 70]) for i in (0, 70, 140)]
    whole = {name: sum(part[name] for part in parts) for name in parts[0]}
    assert summarize(whole) == pytest.approx(summarize(sums(logits, label)))


def test_nothing_measured_is_nan_and_not_zero():
    nothing = sums(*scores(7), mask=np.zeros(210, bool))
    summary = summarize(nothing)
    assert summary.pop("num_examples") == 0
    assert np.isnan(list(summary.values())).all()


def test_a_summary_is_plain_numbers(case):
    for name, value in summarize(sums(*case)).items():
        assert type(value) is (int if name == "num_examples" else float), name
