"""What is measured fits a terminal, and predictions come back from their table as they went."""

import csv
import io

import numpy as np
import pytest

from jaxcnn.analysis import tables
from jaxcnn.analysis.measure import measure
from jaxcnn.analysis.outcomes import probabilities
from tests.analysis.problems import names, problem


def text(size, num_classes, *, called=names, **options):
    label, logits = problem(size, num_classes, right=options.pop("right", 2.0))
    return tables.metrics_text(measure(label, logits, called(num_classes), resamples=50, **options))


@pytest.mark.parametrize(("size", "num_classes"), [(0, 3), (50, 1), (300, 10), (2000, 300)])
def test_the_text_fits_a_terminal(size, num_classes):
    shown = text(size, num_classes, groups=[f"group {n % 40}" for n in range(size)])
    lines = shown.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 100
    assert not any(line != line.rstrip() for line in lines)


def test_values_are_shown_with_their_intervals():
    label = np.repeat([0, 1], 100)
    logits = np.eye(2, dtype=np.float32)[np.where(np.arange(200) % 20 == 0, 1 - label, label)]
    found = measure(label, logits, ["cat", "dog"])
    low, high = (100 * edge for edge in found.metrics["accuracy"][1:3])
    shown = tables.metrics_text(found)
    assert f"95.00 %  ({low:.1f} to {high:.1f})" in shown
    assert "cat taken for dog: 5 (5.0 %)" in shown


def test_the_worst_of_many_classes_are_shown_first_and_those_without_examples_last():
    label, logits = problem(1000, 30, labels=range(28))
    logits[label == 7, 7] -= 9
    shown = tables.metrics_text(measure(label, logits, names(30), resamples=20))
    rows = shown.splitlines()
    start = next(n for n, line in enumerate(rows) if line.startswith("worst 10 classes"))
    assert rows[start + 1].startswith("class 7 ")
    assert "class 28" not in shown and rows[start + 11] == ""


def test_what_is_missing_is_a_dash_and_a_reason():
    shown = text(40, 1, right=50.0)
    assert "(ROC-AUC, macro: only one class among the labels)" in shown.splitlines()
    assert text(0, 3) == "0 examples, 3 classes: nothing to measure"


def test_names_cannot_break_lines_or_terminals():
    def odd(num_classes):
        return ["two\nlines\x1b[31m", "a very long name " * 9, "\udcff"][:num_classes]

    shown = text(60, 3, called=odd, groups=["x\ny"] * 60)
    assert r"two\nlines\x1b[31m" in shown and r"\udcff" in shown and r"x\ny" in shown
    assert shown.encode("utf-8") and max(map(len, shown.splitlines())) <= 100


def test_the_worst_groups_are_shown_first():
    label, logits = problem(90, 3, right=5.0)
    groups = np.array(["good", "bad", "so so"])[np.arange(90) % 3]
    logits[groups == "bad", label[groups == "bad"]] -= 20
    shown = tables.metrics_text(measure(label, logits, names(3), groups=groups, resamples=20))
    rows = shown.splitlines()
    start = next(n for n, line in enumerate(rows) if line.startswith("group "))
    assert rows[start + 1].startswith("bad ")


ODD_NAMES = ["a,b", 'the "best"', "two\nlines", "plain"]


def table_of(paths, label, logits, class_names, groups=None):
    file = io.StringIO(newline="")
    share = probabilities(logits)
    called = logits.argmax(-1)
    complete = tables.predictions_csv(
        file, paths, label, called, share, class_names, first_column="path", groups=groups
    )
    return complete, list(csv.reader(io.StringIO(file.getvalue(), newline=""))), share


def test_predictions_come_back_from_their_table():
    label, logits = problem(25, 4)
    paths = [f"folder, {n}/image\n{n}.png" for n in range(25)]
    complete, (header, *rows), share = table_of(paths, label, logits, ODD_NAMES)
    assert complete
    assert header == ["path", "label", "prediction", *(f"p_{name}" for name in ODD_NAMES)]
    assert [row[0] for row in rows] == paths
    assert [row[1] for row in rows] == [ODD_NAMES[k] for k in label]
    assert [row[2] for row in rows] == [ODD_NAMES[k] for k in logits.argmax(-1)]
    np.testing.assert_allclose(np.array([row[3:] for row in rows], float), share, rtol=5e-6)


def test_a_table_of_predictions_carries_the_groups():
    label, logits = problem(25, 4)
    groups = [f"patient {n % 3}, left" for n in range(25)]
    _, (header, *rows), share = table_of(range(25), label, logits, ODD_NAMES, groups)
    assert header[:5] == ["path", "label", "prediction", "group", "p_a,b"]
    assert [row[3] for row in rows] == groups
    np.testing.assert_allclose(np.array([row[4:] for row in rows], float), share, rtol=5e-6)


def test_too_many_probabilities_are_cut_to_those_of_label_and_prediction(monkeypatch):
    monkeypatch.setattr(tables, "_PROBABILITIES", 99)
    label, logits = problem(25, 4)
    complete, (header, *rows), share = table_of(range(25), label, logits, ODD_NAMES)
    assert not complete
    assert header == ["path", "label", "prediction", "p_label", "p_prediction"]
    for n, row in enumerate(rows):
        expected = [share[n, label[n]], share[n].max()]
        np.testing.assert_allclose(np.array(row[3:], float), expected, rtol=5e-6)
