"""A run stops when validation says so, and a killed one comes to the same decision."""

import json
import shutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcnn.errors import UserError
from jaxcnn.training.member import best_step, should_stop
from jaxcnn.training.train import train


@pytest.mark.parametrize(
    ("values", "patience", "min_delta", "stops"),
    [
        ([], 10, 0.0, False),
        ([0.5], 10, 0.0, False),
        ([0.5, 0.4], 10, 0.0, True),
        ([0.5, 0.4], 11, 0.0, False),
        ([0.5, 0.6, 0.6], 10, 0.0, True),  # as good is no improvement
        ([0.5, 0.6, 0.7], 10, 0.0, False),
        ([0.5, 0.55, 0.58, 0.59], 20, 0.1, True),
        ([0.5, 0.55, 0.61, 0.62], 20, 0.1, False),  # small steps add up
    ],
)
def test_patience_is_counted_from_the_last_improvement(values, patience, min_delta, stops):
    history = [(10 * k, value) for k, value in enumerate(values, start=1)]
    rule = {"min_delta": min_delta}
    assert should_stop(history, patience, lower_is_better=False, **rule) == stops
    mirrored = [(step, -value) for step, value in history]
    assert should_stop(mirrored, patience, lower_is_better=True, **rule) == stops


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_the_best_is_the_first_of_the_highest(values):
    history = list(enumerate(values))
    assert best_step(history, lower_is_better=False) == values.index(max(values))


@pytest.fixture
def short(digits):
    """Learns nothing: each evaluation is as good as the first."""
    digits.batch_size = 256
    digits.optimizer.learning_rate = 1e-12
    digits.model.norm = "none"
    digits.num_epochs, digits.num_steps = None, 12
    digits.eval_every_steps, digits.checkpoint_every_steps = 2, 12
    digits.early_stop.patience_steps = 4
    return digits


def test_a_run_stops_early_and_a_killed_one_where_it_did(short, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    metrics = train(short, whole)
    steps = [json.loads(line)["step"] for line in (whole / "metrics.jsonl").read_text().split("\n")
             if '"validation"' in line]  # fmt: skip
    assert steps == [2, 4, 6]
    assert metrics["checkpoint_step"] == 6
    # Killed after the decision and before the final test: it is not trained on.
    shutil.copytree(whole, killed)
    (killed / "eval.json").unlink()
    assert train(short, killed) == metrics
    assert (killed / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()


def test_without_validation_nothing_could_decide(short, tmp_path):
    short.data.holdout = 0.0
    with pytest.raises(UserError, match=r"config\.early_stop\.patience: .* no validation images"):
        train(short, tmp_path)
