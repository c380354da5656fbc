"""Promise 4: evaluation is exact and honest."""

import json

import jax
import numpy as np
import pytest
from sklearn import metrics as oracle

from jaxcnn import make_eval_step, make_predict_step
from jaxcnn.analysis.measure import plain_metrics
from jaxcnn.builders.data import build_dataset
from jaxcnn.core.views import with_views
from jaxcnn.data.pipeline import eval_batches
from jaxcnn.data.source import Images, Split
from jaxcnn.inference.passes import evaluate, predict
from jaxcnn.runtime.mesh import fsdp_parallel, make_parallel
from jaxcnn.training.train import train
from tests.steps import build, fresh_state, real_batch


def parallel_of(mode, batch_size, num_devices):
    devices = jax.devices()[:num_devices]
    if mode == "fsdp":
        return fsdp_parallel(devices, num_devices // 2)
    return make_parallel(mode, batch_size, devices)


def everything(num_examples, batch_size, mode="jit", num_devices=1):
    """Metrics of an untrained model on real digits."""
    data = real_batch(num_examples)
    split = Split(Images(data["image"], data["label"]), np.arange(num_examples))
    parallel = parallel_of(mode, batch_size, num_devices)
    model, *_ = build(parallel.axis_name)
    eval_step = make_eval_step(model, axis_name=parallel.axis_name)
    step = parallel.transform(eval_step, donate=False)
    batches = map(parallel.place_batch, eval_batches(split, batch_size))
    (metrics,) = evaluate(step, parallel.place_states([fresh_state()]), batches, parallel)
    return metrics


def predicted(batch_size, mode, num_devices, views):
    """The metrics of logits and of views, of the same model on 150 real digits."""
    data = real_batch(150)
    split = Split(Images(data["image"], data["label"]), np.arange(150))
    parallel = parallel_of(mode, batch_size, num_devices)
    model, *_ = build(parallel.axis_name)
    predict_step = with_views(make_predict_step(model, axis_name=parallel.axis_name), views)
    step = parallel.transform(predict_step, donate=False)
    batches = map(parallel.place_batch, eval_batches(split, batch_size))
    state = parallel.place_states([fresh_state()])
    outputs = predict(step, state, batches, len(split), parallel)
    assert {name: value.shape for name, value in outputs.items()} == {
        "logits": (1, 150, 10), "views": (1, 150, 10)
    }  # fmt: skip
    return (plain_metrics(split.label, outputs[name][0]) for name in ("logits", "views"))


@pytest.mark.parametrize(
    ("batch_size", "mode", "num_devices"),
    [(7, "jit", 1), (64, "jit", 8), (64, "pmap", 8), (64, "fsdp", 8)],
)
def test_predictions_of_all_examples_give_the_numbers_that_sums_give(batch_size, mode, num_devices):
    """Of 150 images: the final test's way to eval.json and the report, beside validation's."""
    metrics, _ = predicted(batch_size, mode, num_devices, views=("flip",))
    expected = everything(150, batch_size, mode, num_devices)
    assert metrics.pop("loss") == pytest.approx(expected.pop("loss"), rel=1e-6)
    assert metrics == expected


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_logit_that_is_not_finite_leaves_no_number_for_the_loss(bad):
    logits = np.zeros((2, 3), np.float32)
    logits[1, 0] = bad
    assert not np.isfinite(plain_metrics(np.array([0, 1]), logits)["loss"])


def test_every_metric_equals_scikit_learn():
    measured = everything(200, batch_size=64)
    model, *_ = build()
    data, state = real_batch(200), fresh_state()
    logits = np.asarray(
        model.apply(state.variables, data["image"] / np.float32(255), train=False), np.float64
    )
    label, prediction = data["label"], logits.argmax(-1)
    assert len(set(label)) == 10
    assert measured["num_examples"] == 200
    assert measured["accuracy"] == oracle.accuracy_score(label, prediction)
    for average in ("macro", "micro", "weighted"):
        precision, recall, f1, _ = oracle.precision_recall_fscore_support(
            label, prediction, average=average, zero_division=0
        )
        assert measured[f"precision_{average}"] == pytest.approx(precision, abs=1e-12)
        assert measured[f"recall_{average}"] == pytest.approx(recall, abs=1e-12)
        assert measured[f"f1_{average}"] == pytest.approx(f1, abs=1e-12)
    top5 = oracle.top_k_accuracy_score(label, logits, k=5)
    assert measured["top5_accuracy"] == pytest.approx(top5)
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    assert measured["loss"] == pytest.approx(oracle.log_loss(label, probabilities), rel=1e-5)


@pytest.mark.parametrize(
    ("mode", "num_devices"), [("jit", 1), ("jit", 8), ("pmap", 8), ("fsdp", 8)]
)
def test_test_time_augmentation_averages_the_probabilities_of_six_views(mode, num_devices):
    """Of 150 images in batches of 64, by hand: shifted by a pixel both ways, and mirrored."""
    _, measured = predicted(64, mode, num_devices, views=("shift", "flip"))
    model, *_ = build()
    data, state = real_batch(150), fresh_state()
    image = data["image"] / np.float32(255)
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)), "symmetric")
    total = 0
    for view in (image, padded[:, :8, :8], padded[:, 2:, 2:]):
        for side in (view, view[:, :, ::-1]):
            logits = np.asarray(model.apply(state.variables, side, train=False), np.float64)
            total += np.exp(logits) / np.exp(logits).sum(-1, keepdims=True) / 6
    assert measured["num_examples"] == 150
    assert measured["accuracy"] == oracle.accuracy_score(data["label"], total.argmax(-1))
    assert measured["loss"] == pytest.approx(oracle.log_loss(data["label"], total), rel=1e-5)
    assert measured["loss"] != pytest.approx(everything(150, 64)["loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("batch_size", "mode", "num_devices"),
    [(7, "jit", 1), (200, "jit", 1), (256, "jit", 8), (64, "jit", 8), (64, "pmap", 8)],
)
def test_neither_batch_size_nor_devices_change_a_count(batch_size, mode, num_devices):
    expected = everything(150, batch_size=50)
    measured = everything(150, batch_size, mode, num_devices)
    assert measured.pop("loss") == pytest.approx(expected.pop("loss"), rel=1e-6)
    assert measured == expected


def test_splits_depend_on_split_seed_and_never_on_seed(digits):
    rows = {}
    for name, seed, split_seed in (("a", 0, 0), ("b", 1, 0), ("c", 0, 1)):
        digits.seed, digits.data.split_seed = seed, split_seed
        splits = build_dataset(digits).splits
        rows[name] = {role: split.rows.tolist() for role, split in splits.items()}
    assert rows["a"] == rows["b"]
    assert rows["a"]["test"] != rows["c"]["test"]
    assert sorted(row for split in rows["a"].values() for row in split) == list(range(1797))


def test_validation_chooses_the_checkpoint_and_test_does_not(digits, tmp_path):
    """A learning rate far too high at the end: the last checkpoint is not the best."""
    digits.num_epochs = 4.0
    digits.schedule.name = "constant"
    digits.optimizer.learning_rate = 0.05
    result = train(digits, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {line["split"] for line in lines} == {"train", "validation"}
    validation = {line["step"]: line["accuracy"] for line in lines if line["split"] == "validation"}
    assert len(validation) == 4
    best = max(validation.values())
    assert result["checkpoint_step"] == max(s for s, a in validation.items() if a == best)
    assert result["split"] == "test"
    assert result["num_examples"] == 359


def test_without_validation_data_the_last_checkpoint_counts(digits, tmp_path):
    digits.data.holdout = 0.0
    digits.num_epochs = None
    digits.num_steps = 5
    result = train(digits, tmp_path)
    assert result["split"] == "test"
    assert result["checkpoint_step"] == 5
    assert "validation" not in (tmp_path / "metrics.jsonl").read_text()


def test_without_test_data_the_result_says_which_split_it_is_of(digits, tmp_path):
    digits.data.test_holdout = 0.0
    digits.num_epochs = None
    digits.num_steps = 5
    assert train(digits, tmp_path)["split"] == "validation"
