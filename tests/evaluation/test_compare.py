"""jaxcnn compare: several runs on the same test images."""

import csv
import json
import shutil

import numpy as np
import pytest
from scipy.stats import binomtest

from jaxcnn.errors import UserError
from jaxcnn.evaluation.compare import compare_runs, short_names


def rewrite(run, change):
    """Changes the rows of a run's predictions.csv."""
    path = run / "report" / "predictions.csv"
    with path.open(newline="") as lines:
        header, *rows = csv.reader(lines)
    with path.open("w", newline="") as lines:
        csv.writer(lines).writerows([header, *change(rows)])
    return rows


@pytest.fixture
def runs(workdir, tmp_path):
    """The same run twice."""
    places = [tmp_path / "runs" / name for name in ("first", "second")]
    for place in places:
        shutil.copytree(workdir, place, ignore=shutil.ignore_patterns("checkpoints"))
    return places


def test_the_better_of_two_runs_is_named_with_its_p_value(runs, tmp_path):
    """Forty right answers of the second run are made wrong; its rows come in another order."""
    changed = []

    def spoil(rows):
        right = [row for row in rows if row[1] == row[2]]
        for row in right[:40]:
            row[2] = str((int(row[1]) + 1) % 10)
            changed.append(row)
        return rows[::-1]

    rewrite(runs[1], spoil)
    text = compare_runs(runs, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "compare.json").read_text())
    (pair,) = found["pairs"]
    assert (pair["a"], pair["b"]) == ("first", "second")
    assert (pair["only_a"], pair["only_b"]) == (40, 0)
    assert pair["p_value"] == pytest.approx(binomtest(0, 40).pvalue)
    assert pair["accuracy_difference"]["value"] == pytest.approx(-40 / 359)
    assert "first is better than second by 11.14 points (p = " in text
    page = (tmp_path / "out" / "compare.html").read_text()
    assert "first is better than second" in page and "http" not in page.replace("https://", "")
    assert (tmp_path / "out" / "curves.png").stat().st_size > 1000


def test_equal_runs_differ_no_more_than_luck_explains(runs, tmp_path):
    assert "second and first differ no more than luck explains (p = 1)." in compare_runs(
        runs, tmp_path / "out"
    )


def test_other_test_images_are_said_to_be_others(runs, tmp_path):
    rewrite(runs[1], lambda rows: rows[:-1])
    text = compare_runs(runs, tmp_path / "out")
    assert "first and second were tested on different images." in text
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["pairs"] == []


def test_configs_are_shown_where_they_differ(runs, tmp_path):
    path = runs[1] / "config.json"
    config = json.loads(path.read_text())
    config["optimizer"]["learning_rate"] = 0.02
    path.write_text(json.dumps(config))
    compare_runs(runs, tmp_path / "out")
    found = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert found["config"] == {"optimizer.learning_rate": ["0.01", "0.02"]}


def test_p_values_of_several_pairs_are_adjusted_for_their_number(runs, tmp_path):
    third = tmp_path / "runs" / "third"
    shutil.copytree(runs[0], third)

    def spoil(rows):
        for row in rows[:20]:
            row[2] = row[1]  # right
        return rows

    rewrite(third, spoil)
    compare_runs([*runs, third], tmp_path / "out")
    pairs = json.loads((tmp_path / "out" / "compare.json").read_text())["pairs"]
    assert len(pairs) == 3
    order = np.argsort([pair["p_value"] for pair in pairs], kind="stable")
    smallest = pairs[order[0]]
    assert smallest["p_value_holm"] == pytest.approx(min(1, 3 * smallest["p_value"]))


def test_names_are_as_short_as_tells_runs_apart(tmp_path):
    runs = [tmp_path / "a" / "run", tmp_path / "b" / "run"]
    assert short_names(runs) == ["a/run", "b/run"]
    assert short_names([tmp_path / "a", tmp_path / "b"]) == ["a", "b"]
    with pytest.raises(UserError, match="given twice"):
        short_names([tmp_path / "a", tmp_path / "a"])


def test_mistakes_are_one_line(runs, tmp_path, command):
    done = command(str(runs[0]), module="jaxcnn.compare", check=2)
    assert done.stderr == ("error: give two run directories or more, jaxcnn compare RUN RUN\n")
    with pytest.raises(UserError, match="no such folder; give the folder that"):
        compare_runs([runs[0], tmp_path / "nothing"], tmp_path / "out")
    (runs[1] / "report" / "predictions.csv").write_text("index,label\n1,2\n")
    with pytest.raises(UserError, match=r"predictions.csv: cannot be read .* make it again with"):
        compare_runs(runs, tmp_path / "out")
    shutil.rmtree(runs[1] / "report")
    with pytest.raises(UserError, match="has no report; make one with"):
        compare_runs(runs, tmp_path / "out")
    assert not (tmp_path / "out").exists()
