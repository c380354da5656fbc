"""What an evaluation reports equals scikit-learn, or is null with a reason."""

import json
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from sklearn import metrics as sklearn
from sklearn.exceptions import UndefinedMetricWarning

from jaxcnn.analysis.measure import measure
from jaxcnn.analysis.outcomes import probabilities
from jaxcnn.core.metrics import summarize
from tests.analysis.problems import names, problem, problems


def quick(label, logits, **options):
    return measure(label, logits, names(logits.shape[1]), resamples=20, **options)


def expected(metric, *arguments, **options):
    """scikit-learn's number, None where it warns that there is none or gives NaN."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", UndefinedMetricWarning)
        warnings.filterwarnings("error", "No positive class found")
        try:
            value = metric(*arguments, **options)
        except UserWarning:
            return None
    return None if np.isnan(value) else value


def assert_is(found, value, name):
    if value is None:
        assert found.value is None and found.reason, name
        assert found.low is None and found.high is None, name
    else:
        assert found.value == pytest.approx(value, abs=1e-9), name


@settings(max_examples=60, deadline=None)
@given(problems(min_size=1))
def test_metrics_of_counts_equal_scikit_learn(case):
    label, logits = case
    called = logits.argmax(-1)
    found = quick(label, logits).metrics
    for name, metric in {
        "accuracy": sklearn.accuracy_score,
        "balanced_accuracy": sklearn.balanced_accuracy_score,
        "cohen_kappa": sklearn.cohen_kappa_score,
    }.items():
        assert_is(found[name], expected(metric, label, called), name)
    # Where all is of one class scikit-learn says 0 for 0 / 0.
    one_class = len(np.unique([label, called])) == 1
    matthews = None if one_class else sklearn.matthews_corrcoef(label, called)
    assert_is(found["matthews"], matthews, "matthews")
    for average in ("macro", "micro", "weighted"):
        values = sklearn.precision_recall_fscore_support(
            label, called, average=average, zero_division=0
        )
        for name, value in zip(("precision", "recall", "f1"), values, strict=False):
            assert_is(found[f"{name}_{average}"], value, f"{name}_{average}")


@settings(max_examples=60, deadline=None)
@given(problems(min_size=1))
def test_each_class_equals_scikit_learn(case):
    label, logits = case
    num_classes = logits.shape[1]
    found = quick(label, logits)
    values = sklearn.precision_recall_fscore_support(
        label, logits.argmax(-1), labels=range(num_classes), zero_division=0
    )
    share = probabilities(logits, dtype=np.float64)
    for k, estimates in enumerate(found.classes.values()):
        for name, column in zip(("precision", "recall", "f1"), values, strict=False):
            assert_is(estimates[name], column[k], name)
        for name, metric in {
            "roc_auc": sklearn.roc_auc_score,
            "average_precision": sklearn.average_precision_score,
        }.items():
            assert_is(estimates[name], expected(metric, label == k, share[:, k]), name)
    np.testing.assert_array_equal(found.support, values[3])


@settings(max_examples=40, deadline=None)
@given(problems(min_size=1))
def test_averages_of_rankings_are_over_the_classes_where_they_are_defined(case):
    label, logits = case
    share = probabilities(logits, dtype=np.float64)
    found = quick(label, logits).metrics
    support = np.bincount(label, minlength=logits.shape[1])
    for name, metric, defined in (
        ("roc_auc", sklearn.roc_auc_score, (support > 0) & (support < len(label))),
        ("average_precision", sklearn.average_precision_score, support > 0),
    ):
        classes = np.flatnonzero(defined)
        values = [metric(label == k, share[:, k]) for k in classes]
        macro = np.mean(values) if len(classes) else None
        weighted = np.average(values, weights=support[classes]) if len(classes) else None
        assert_is(found[f"{name}_macro"], macro, name)
        assert_is(found[f"{name}_weighted"], weighted, name)


def test_the_averaged_roc_auc_is_scikit_learns_where_all_classes_occur():
    label, logits = problem(300, 5, right=1.0)
    share = probabilities(logits, dtype=np.float64)
    found = quick(label, logits).metrics
    for average in ("macro", "weighted"):
        value = sklearn.roc_auc_score(label, share, multi_class="ovr", average=average)
        assert found[f"roc_auc_{average}"].value == pytest.approx(value, abs=1e-12)


@settings(max_examples=40, deadline=None)
@given(problems(min_size=1, min_classes=2))
def test_loss_and_brier_score_equal_scikit_learn(case):
    label, logits = case
    share = probabilities(logits, dtype=np.float64)
    found = quick(label, logits).metrics
    classes = range(logits.shape[1])
    with warnings.catch_warnings():  # that float64 does not add up to 1 exactly
        warnings.simplefilter("ignore", UserWarning)
        loss = sklearn.log_loss(label, share, labels=list(classes))
    assert_is(found["loss"], loss, "loss")
    # Brier's score of many classes is the sum of those of each class against the others.
    brier = sum(np.mean(((label == k) - share[:, k]) ** 2) for k in classes)
    assert_is(found["brier"], brier, "brier")
    if len(np.unique(label)) == 2 == logits.shape[1]:
        two = sklearn.brier_score_loss(label, share[:, 1])
        assert_is(found["brier"], 2 * two, "brier of two classes")


@settings(max_examples=40, deadline=None)
@given(problems(min_size=1, min_classes=6))
def test_top5_equals_scikit_learn_among_equal_scores_the_lower_class_first(case):
    label, logits = case
    last = logits.shape[1] - 1  # scikit-learn puts the higher class first
    value = sklearn.top_k_accuracy_score(last - label, logits[:, ::-1], k=5, labels=range(last + 1))
    assert_is(quick(label, logits).metrics["top5_accuracy"], value, "top5")


def test_there_is_no_top5_of_five_classes():
    assert "top5_accuracy" not in quick(*problem(20, 5)).metrics


@settings(max_examples=40, deadline=None)
@given(problems(min_size=1))
def test_numbers_are_those_of_the_evaluation_during_training(case):
    label, logits = case
    found = quick(label, logits)
    sums = {"confusion": found.confusion, "loss": 0.0, "top5": 0}
    for name, value in summarize(sums).items():
        if name not in ("num_examples", "loss", "top5_accuracy"):
            assert_is(found.metrics[name], value, name)


@settings(max_examples=60, deadline=None)
@given(problems())
def test_json_is_plain_and_finite_and_says_why_something_is_missing(case):
    label, logits = case
    found = quick(label, logits, groups=["a", "b"] * (len(label) // 2) + ["c"] * (len(label) % 2))
    content = found.to_json()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    parts = [*content["classes"].values(), *content["groups"].values()]
    for part in [*parts, content["metrics"]]:
        for name, shown in part.items():
            if isinstance(shown, dict):
                assert ("reason" in shown) == ("low" not in shown), name
                if "low" in shown:
                    assert shown["low"] <= shown["value"] <= shown["high"], name
                    assert shown["low"] < shown["high"], name


def test_no_examples_give_null_everywhere_with_a_reason():
    label, logits = problem(0, 7)
    found = quick(label, logits, groups=[])
    classes = [e for estimates in found.classes.values() for e in estimates.values()]
    for shown in [*found.metrics.values(), *classes]:
        assert shown.to_json() == {"value": None, "reason": "there are no examples"}
    assert found.groups == {} and found.confusions == [] and found.confusion.sum() == 0


def test_examples_of_one_class_give_null_where_two_are_needed():
    found = quick(*problem(30, 3, labels=[1], right=50.0))
    for name in ("cohen_kappa", "matthews", "roc_auc_macro", "roc_auc_weighted"):
        assert found.metrics[name].value is None and "one class" in found.metrics[name].reason
    assert found.metrics["accuracy"].value == 1
    assert found.classes["class 0"]["roc_auc"].reason == "no example of this class"
    assert found.classes["class 1"]["roc_auc"].reason == "no example of another class"


def test_a_class_never_predicted_has_precision_0_by_convention_and_says_so():
    label, logits = problem(60, 3)
    logits[:, 2] = -50
    shown = quick(label, logits).classes["class 2"]["precision"]
    assert shown.value == 0 and shown.low is None and "by convention" in shown.reason


def test_all_right_is_not_certain():
    found = measure(*problem(100, 3, right=50.0), names(3))
    accuracy = found.metrics["accuracy"]
    assert accuracy.value == accuracy.high == 1
    assert accuracy.low == pytest.approx(0.963, abs=1e-3)  # Wilson's, of 100 examples
    for estimates in found.classes.values():
        for name in ("precision", "recall", "f1"):
            assert 0.8 < estimates[name].low < estimates[name].high == 1
        # Of hits h and mistakes m, F1 is 2h / (2h + m): the share s = h / (h + m) as 2s / (1 + s).
        share = estimates["recall"].low
        assert estimates["f1"].low == pytest.approx(2 * share / (1 + share))
    # What is no share of anything says that resampling cannot tell.
    assert found.metrics["matthews"].low is None and found.metrics["matthews"].reason


def test_the_order_of_examples_changes_no_value():
    label, logits = problem(200, 4)
    order = np.random.default_rng(1).permutation(200)
    one, other = quick(label, logits), quick(label[order], logits[order])
    np.testing.assert_array_equal(one.confusion, other.confusion)
    for name, shown in one.metrics.items():
        assert other.metrics[name].value == pytest.approx(shown.value, abs=1e-12), name


def test_the_same_seed_gives_the_same_intervals_and_another_gives_others():
    case = problem(200, 4, right=1.0)
    assert quick(*case).to_json() == quick(*case).to_json()
    assert quick(*case).metrics["roc_auc_macro"] != quick(*case, seed=1).metrics["roc_auc_macro"]


def test_above_the_limits_rankings_and_calibration_have_no_interval_and_say_so():
    found = quick(*problem(100, 21))
    for name in ("roc_auc_macro", "average_precision_weighted", "expected_calibration_error"):
        shown = found.metrics[name]
        assert shown.value is not None and shown.low is None
        assert shown.reason == "no interval above 10,000 examples or 20 classes"
    for name in ("loss", "brier", "top5_accuracy", "accuracy"):
        assert found.metrics[name].low is not None


def test_a_group_is_measured_as_if_it_were_alone():
    label, logits = problem(300, 6, right=1.0)
    groups = np.array(["north", "south", "east"])[np.arange(300) % 3]
    groups[:4] = "north"
    found = quick(label, logits, groups=list(groups))
    assert found.group_sizes == {name: int((groups == name).sum()) for name in sorted(set(groups))}
    for name, shown in found.groups.items():
        alone = quick(label[groups == name], logits[groups == name])
        assert set(shown) == {"accuracy", "balanced_accuracy", "f1_macro", "loss"}
        for metric in shown:
            np.testing.assert_allclose(shown[metric][:3], alone.metrics[metric][:3], rtol=1e-12)


def test_temperature_changes_confidence_and_nothing_else():
    label, logits = problem(300, 4)
    plain, cooled = quick(label, logits), quick(label, logits, temperature=0.5)
    by_hand = quick(label, logits / 0.5)
    np.testing.assert_array_equal(plain.confusion, cooled.confusion)
    assert cooled.metrics["loss"].value != plain.metrics["loss"].value
    assert cooled.metrics == by_hand.metrics


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_counted_in_the_message(broken):
    label, logits = problem(2500, 700)
    logits[[3, 2400], [0, 5]] = broken
    with pytest.raises(ValueError, match="2 of 2,500 examples have logits that are not finite"):
        quick(label, logits)


@pytest.mark.parametrize("change", ["label", "names", "groups", "temperature"])
def test_what_does_not_fit_together_is_refused(change):
    label, logits = problem(10, 3)
    known, groups, temperature = names(3), None, 1.0
    if change == "label":
        label[4] = 3
    elif change == "names":
        known = ["a", "a", "b"]
    elif change == "groups":
        groups = ["x"] * 9
    else:
        temperature = 0.0
    with pytest.raises(ValueError):
        measure(label, logits, known, groups=groups, temperature=temperature)


def test_memory_does_not_grow_with_examples_times_classes():
    """40 MB of logits; a float64 copy of them alone would be 80 MB."""
    label, logits = problem(10_000, 1_000)
    tracemalloc.start()
    try:
        measure(label, logits, names(1_000), resamples=50)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60e6
