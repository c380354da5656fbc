"""Promise 2: the step number is the only clock; a killed run ends in bit-identical parameters."""

import json
import signal
import sys
import time

import jax
import numpy as np
import pytest

from jaxcnn.config.keys import load_config
from jaxcnn.core.optim import make_optimizer
from jaxcnn.core.state import create_train_state
from jaxcnn.runtime.checkpoint import Checkpoints
from tests import processes
from tests.processes import command_line

ARGUMENTS = (
    "--config", "experiments/digits.py", "--config.num_epochs=6", "--config.model.filters=(8,16)",
    "--config.log_every_steps=7",
)  # fmt: skip


def start(workdir, cache_dir, **how):
    line = command_line(*ARGUMENTS, "--workdir", workdir, cache_dir=cache_dir)
    return processes.start(line, **how)


def finish(process):
    code, _, log = processes.finish(process)
    return code, log


def wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition() and process.poll() is None:
        assert time.monotonic() < end, "the run did not get there"
        time.sleep(0.005)


def final_arrays(workdir):
    """Every array of the last checkpoint, read without knowing the model."""
    import orbax.checkpoint as ocp

    step = max(int(p.name) for p in (workdir / "checkpoints").iterdir() if p.name.isdigit())
    folder = (workdir / "checkpoints" / str(step) / "default").absolute()
    with ocp.StandardCheckpointer() as checkpointer:
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])  # also if processes wrote it
        like = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here),
            dict(checkpointer.metadata(folder).item_metadata),
        )
        tree = checkpointer.restore(folder, like)
    return step, {
        jax.tree_util.keystr(k): np.asarray(v) for k, v in jax.tree.leaves_with_path(tree)
    }


def metric_lines(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    measured = ("images_per_second", "_ms", "_mb")  # of the machine, not of the run
    return [{k: v for k, v in line.items() if not k.endswith(measured)} for line in lines]


def assert_same_run(workdir, undisturbed):
    (step, arrays), (expected_step, expected) = map(final_arrays, (workdir, undisturbed))
    assert step == expected_step
    assert arrays.keys() == expected.keys() and len(arrays) > 10
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, expected[name], err_msg=name)
    assert json.loads((workdir / "eval.json").read_text()) == json.loads(
        (undisturbed / "eval.json").read_text()
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache_dir):
    workdir = tmp_path_factory.mktemp("undisturbed")
    code, log = finish(start(workdir, cache_dir, fresh=True))
    assert code == 0, log
    return workdir


def test_a_killed_run_ends_in_the_same_parameters_and_metrics(tmp_path, cache_dir, undisturbed):
    """Kill -9 while a checkpoint is being written, between two of them, and during start-up."""
    checkpoints, metrics = tmp_path / "checkpoints", tmp_path / "metrics.jsonl"

    def writing():
        return any("tmp" in p.name for p in checkpoints.glob("*"))

    def third_epoch():
        return metrics.exists() and metrics.read_text().count("validation") >= 3

    moments = [writing, third_epoch, lambda: False]
    for moment in moments:
        process = start(tmp_path, cache_dir, fresh=True)
        if moment is moments[-1]:
            time.sleep(1.0)
        else:
            wait_for(moment, process)
        process.send_signal(signal.SIGKILL)
        assert finish(process)[0] == -signal.SIGKILL
    assert not (tmp_path / "eval.json").exists(), "killed too late to test anything"

    code, log = finish(start(tmp_path, cache_dir, fresh=True))
    assert code == 0, log
    assert "resuming from step" in log
    assert_same_run(tmp_path, undisturbed)
    assert metric_lines(tmp_path) == metric_lines(undisturbed)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_is_asked_to_stop_saves_and_resumes(
    number, code, tmp_path, cache_dir, undisturbed
):
    process = start(tmp_path, cache_dir)
    wait_for(lambda: (tmp_path / "metrics.jsonl").exists(), process)
    wait_for(lambda: (tmp_path / "metrics.jsonl").stat().st_size > 0, process)
    process.send_signal(number)
    stopped, log = finish(process)
    assert stopped == code, log
    assert (
        f"is saved; resume with: {sys.executable} -m jaxcnn train --config experiments/digits.py"
        in log
    )
    assert "Traceback" not in log

    saved = max(int(p.stem) for p in (tmp_path / "checkpoints").glob("*.sha256"))
    done, log = finish(start(tmp_path, cache_dir))
    assert done == 0, log
    assert f"resuming from step {saved} of" in log
    assert_same_run(tmp_path, undisturbed)


def test_the_saved_config_is_enough_to_rebuild_the_model(undisturbed):
    """config.json and dataset.json, nothing else, give the structure the checkpoint fits."""
    from jaxcnn.builders.data import build_model

    config = load_config(undisturbed / "config.json")
    facts = json.loads((undisturbed / "dataset.json").read_text())
    model = build_model(config, len(facts["class_names"]))
    tx = make_optimizer("adamw", lambda count: 1e-3)
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    like = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=device),
        jax.eval_shape(
            lambda: create_train_state(model, tx, jax.random.key(0), facts["image_shape"])
        ),
    )
    checkpoints = Checkpoints(undisturbed / "checkpoints", config.best_metric)
    state, step = checkpoints.restore_latest(like)
    checkpoints.close()
    assert int(state.step) == step > 0
