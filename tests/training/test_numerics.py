"""on_nonfinite: what a run makes of updates that are not finite."""

import json

import jax
import jax.numpy as jnp
import pytest

from jaxcnn import AUGMENTATIONS, create_train_state
from jaxcnn.config.table import FREE_ON_RESUME
from jaxcnn.errors import UserError
from jaxcnn.training.train import train
from tests.configs import message_of
from tests.conftest import small_digits
from tests.steps import SHAPE, build, real_batch


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture
def config(cache_dir):
    config = small_digits(cache_dir)
    config.log_every_steps = 4
    config.on_nonfinite = "skip"
    return config


@pytest.fixture
def overflowing(config):
    """A run of which no update is finite: loss and rate are 1e20 times too large."""
    config.num_epochs, config.num_steps = None, 24
    config.loss.class_weights = (1e20,) * 10
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 1e20
    config.schedule.name = "constant"
    return config


def poison(keys, batch):
    """Makes two images of the data set NaN."""
    del keys
    hit = ((batch["index"] == 7) | (batch["index"] == 700))[:, None, None, None]
    return batch | {"image": jnp.where(hit, jnp.nan, batch["image"])}


def test_a_run_goes_on_after_updates_that_are_not_finite_and_counts_them(
    config, tmp_path, monkeypatch
):
    monkeypatch.setitem(AUGMENTATIONS, "poison", poison)
    config.augment = ("poison",)
    config.num_epochs = 4.0
    config.optimizer.learning_rate = 0.01
    train(config, tmp_path)
    written = [line for line in lines(tmp_path) if line["split"] == "train"]
    assert 4 <= sum(line["skipped"] for line in written) <= 8  # once or twice an epoch
    assert max(line["skipped"] for line in written) <= 2
    assert written[-1]["loss"] < 0.8 * written[0]["loss"]


def test_too_many_in_a_row_stop_it_with_one_line(overflowing, tmp_path):
    overflowing.max_skipped = 5
    with pytest.raises(UserError, match="each of the last 6 updates is not finite at step 6") as e:
        train(overflowing, tmp_path)
    message = str(e.value)
    assert "(learning rate 1e+20)" in message and "\n" not in message
    assert "a lower --config.optimizer.learning_rate" in message
    assert "on_nonfinite" not in message


def test_a_run_that_stops_names_step_rate_and_what_to_try(overflowing, tmp_path):
    overflowing.on_nonfinite = "stop"
    with pytest.raises(UserError) as error:
        train(overflowing, tmp_path)
    message = str(error.value)
    assert "loss is nan at step 2 (learning rate 1e+20)" in message
    assert "or --config.on_nonfinite=skip if it is rare" in message


def test_the_bound_may_change_when_a_run_goes_on():
    assert "max_skipped" in FREE_ON_RESUME and "on_nonfinite" not in FREE_ON_RESUME


def test_wrong_values_are_told():
    assert "config.on_nonfinite='skp': expected one of stop, skip" in message_of(on_nonfinite="skp")
    assert "config.max_skipped=0: expected a number above 0" in message_of(max_skipped=0)


def test_in_bfloat16_what_is_kept_and_what_is_measured_stays_float32():
    model, tx, train_step, _ = build(dtype=jnp.bfloat16)
    state = create_train_state(model, tx, jax.random.key(0), SHAPE)
    state, metrics = jax.jit(train_step)(state, real_batch(32))
    kept = jax.tree.leaves((state.params, state.batch_stats, state.opt_state))
    assert {leaf.dtype for leaf in kept} <= {jnp.dtype("float32"), jnp.dtype("int32")}
    assert metrics["loss"].dtype == jnp.float32
    logits = model.apply(state.variables, jnp.zeros((2, *SHAPE)), train=False)
    assert logits.dtype == jnp.float32
    # The convolutions themselves are not in float32.
    program = str(jax.make_jaxpr(train_step)(state, real_batch(32)))
    convolutions = [line for line in program.splitlines() if "conv_general_dilated[" in line]
    assert convolutions and all("bf16[" in line for line in convolutions)
