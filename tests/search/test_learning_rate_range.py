"""The range test goes through the run's own steps, writes two files, and finds rates that train."""

import json

import jax
import numpy as np
import pytest

from jaxcnn.config.keys import resolve
from jaxcnn.errors import UserError
from jaxcnn.search.learning_rate_range import build, find_learning_rate, range_test
from tests.report.predictions import decode


def found(config, output, **how):
    text = find_learning_rate(config, output, **how)
    return text, json.loads((output / "learning_rate.json").read_text())


def test_a_rate_is_found_and_nothing_else_is_written(digits, tmp_path):
    before = digits.to_json()
    text, content = found(digits, tmp_path, low=1e-5, high=1.0, steps=50)
    assert {path.name for path in tmp_path.iterdir()} == {
        "learning_rate.json",
        "learning_rate.png",
    }
    assert decode((tmp_path / "learning_rate.png").read_bytes()).std() > 1
    # A small net with AdamW on digits learns with a rate between these.
    assert 3e-4 < content["learning_rate"] < 0.1
    assert f"--config.optimizer.learning_rate={content['learning_rate']:.2g}" in text
    assert "the loss fell fastest at" in text and "config.optimizer.learning_rate is 0.001" in text
    curve = content["curve"]
    assert np.allclose(curve["learning_rate"], np.geomspace(1e-5, 1, 50)[: len(curve["loss"])])
    assert digits.to_json() == before


def test_the_losses_are_those_of_the_runs_own_step(digits):
    digits.optimizer.rules = ((".*kernel", {"learning_rate": 0.5}), ("rest", {}))
    digits.ema.decay = 0.9
    run = build(resolve(digits), 1e-3, 1e-2, 20)
    _, losses = range_test(run)
    state = run.parallel.place_states([run.make_states[0]()])
    for step, batch in zip(range(3), run.train_batches(0), strict=False):
        state, metrics = run.train_step(state, batch)
        assert losses[step] == pytest.approx(float(metrics["loss"] / metrics["count"]), rel=1e-5)


def test_a_diverging_loss_ends_the_test_early(digits, tmp_path):
    digits.optimizer.name = "sgd"
    text, content = found(digits, tmp_path, low=1e-3, high=1e6, steps=60)
    assert len(content["curve"]["loss"]) < 60
    assert content["diverged"] == content["curve"]["learning_rate"][-1]
    assert f"after {len(content['curve']['loss'])} steps" in text


def test_it_works_under_pmap_with_accumulated_gradients_and_says_when_nothing_was_found(
    digits, tmp_path
):
    digits.parallel.mode = "pmap"
    digits.optimizer.accumulate = 2
    text, content = found(digits, tmp_path, low=1e-12, high=1e-9, steps=20)
    assert len(content["curve"]["loss"]) == 20 and content["diverged"] is None
    if content["learning_rate"] is None:
        assert text.startswith("no learning rate to suggest for adamw: the loss never fell")
    assert jax.device_count() > 1


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"low": 1.0, "high": 0.1}, "--from=1 --to=0.1"),
        ({"low": 0.0}, "--from=0"),
        ({"high": float("inf")}, "--to=inf"),
        ({"steps": 3}, "--steps=3"),
    ],
)
def test_flags_without_sense_are_refused(digits, tmp_path, how, words):
    with pytest.raises(UserError, match=words):
        find_learning_rate(digits, tmp_path, **how)
    assert not list(tmp_path.iterdir())
