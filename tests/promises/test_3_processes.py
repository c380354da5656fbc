"""Promise 3 over processes: two that train together make the run that one makes."""

import json
import shutil
import signal
from types import SimpleNamespace

import jax
import numpy as np
import pytest

from jaxcnn.data.pipeline import eval_batches, train_batches
from jaxcnn.training.first_state import checksum
from tests import processes
from tests.fifty_steps import fifty_losses
from tests.processes import command_line
from tests.promises.test_2_clock import assert_same_run, final_arrays
from tests.several import start_pair, wait_for

SMALL = (
    "--config", "experiments/digits.py", "--config.model.filters=(8,)", "--config.num_epochs=2",
    "--config.model.convs_per_stage=1", "--config.log_every_steps=3",
)  # fmt: skip


def finish(pair):
    """The exit codes and logs of both."""
    done = [processes.finish(process) for process in pair]
    return [code for code, _, _ in done], [log for _, _, log in done]


def losses_of(modes, devices):
    """{mode: float64[50]} of two processes with so many devices each."""
    line = ["python", "-m", "tests.fifty_steps", modes]
    done = [processes.finish(process) for process in start_pair(line, devices)]
    assert [code for code, _, _ in done] == [0, 0], done
    return json.loads(done[0][1].splitlines()[-1])


@pytest.mark.parametrize("share", [slice(0, 12), slice(12, 32)])
def test_shares_of_batches_are_parts_of_the_whole(share, digits):
    from jaxcnn.builders.data import build_dataset, build_sampling
    from jaxcnn.config.keys import resolve

    config = resolve(digits)
    dataset = build_dataset(config, None)
    split, sampling = dataset.splits["train"], build_sampling(config, dataset.splits["train"])
    test = dataset.splits["test"]
    pairs = [
        (
            train_batches(split, sampling, 0, range(40, 44), 32),
            train_batches(split, sampling, 0, range(40, 44), 32, share),
        ),
        (eval_batches(test, 32), eval_batches(test, 32, share=share)),
    ]
    for whole, part in pairs:
        for batch, mine in zip(whole, part, strict=True):
            for name in batch:
                np.testing.assert_array_equal(mine[name], batch[name][share], err_msg=name)


def test_two_processes_take_the_fifty_steps_of_one():
    """In float64, to nine digits."""
    with jax.enable_x64(True):
        alone = fifty_losses("jit", jax.devices()[:1])
    np.testing.assert_allclose(losses_of("jit", 2)["jit"], alone, rtol=1e-9)


@pytest.mark.slow
def test_two_processes_take_the_fifty_steps_of_one_with_four_devices_each():
    with jax.enable_x64(True):
        alone = fifty_losses("jit", jax.devices()[:1])
    for mode, losses in losses_of("jit,pmap", 4).items():
        np.testing.assert_allclose(losses, alone, rtol=1e-9, err_msg=mode)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache_dir):
    """A run of two processes, with two devices each."""
    workdir = tmp_path_factory.mktemp("undisturbed")
    line = command_line(*SMALL, "--workdir", workdir, cache_dir=cache_dir)
    codes, logs = finish(start_pair(line, 2))
    assert codes == [0, 0], logs
    return workdir, logs


def test_only_the_first_process_talks_and_writes(undisturbed):
    workdir, (first, second) = undisturbed
    assert "2 processes with 4 devices" in first and "test accuracy" in first
    assert [line.split()[0] for line in second.splitlines()] == ["imports"]
    steps = [json.loads(line)["step"] for line in (workdir / "metrics.jsonl").open()]
    assert steps == sorted(steps) and len(steps) == len(set(steps)) + 2  # two validations
    assert len(json.loads((workdir / "environment.json").read_text())["devices"]) == 4


@pytest.mark.parametrize(("mode", "devices"), [("jit", 1), ("pmap", 8)])
def test_two_processes_count_what_one_counts(mode, devices, undisturbed, tmp_path, command):
    """Of 359 test images in batches of 64, the last is 39 and its padding, over both processes."""
    shutil.copytree(undisturbed[0], tmp_path, dirs_exist_ok=True)
    (tmp_path / "eval.json").unlink()
    more = f"--config.parallel.mode={mode}", "--workdir", tmp_path
    command(*SMALL, *more, devices=devices, check=0)
    alone, together = (
        json.loads((folder / "eval.json").read_text()) for folder in (tmp_path, undisturbed[0])
    )
    assert alone.keys() == together.keys() and alone["num_examples"] == 359
    losses = {name for name in alone if "loss" in name}
    assert {k: v for k, v in alone.items() if k not in losses} == {
        k: v for k, v in together.items() if k not in losses
    }
    for name in losses:
        np.testing.assert_allclose(alone[name], together[name], rtol=1e-5)


@pytest.mark.parametrize("mode", ["jit", pytest.param("pmap", marks=pytest.mark.slow)])
def test_two_processes_report_what_they_count(mode, undisturbed, tmp_path, cache_dir):
    """One pass over both gives the numbers that sums give without a report, and the report's."""
    shutil.copytree(undisturbed[0], tmp_path, dirs_exist_ok=True)
    (tmp_path / "eval.json").unlink()
    more = f"--config.parallel.mode={mode}", "--config.report.tta=('flip',)"
    line = command_line(*SMALL, *more, "--workdir", tmp_path, cache_dir=cache_dir)
    line[-1] = "--config.report.resamples=100"  # in place of one that leaves the report out
    codes, logs = finish(start_pair(line, 2))
    assert codes == [0, 0], logs
    expected, found = (
        json.loads((folder / "eval.json").read_text()) for folder in (undisturbed[0], tmp_path)
    )
    assert found["split"] == expected.pop("split") == "test"
    assert {name: found[name] for name in expected} == pytest.approx(expected, rel=1e-6)
    report = json.loads((tmp_path / "report" / "metrics.json").read_text())
    for name in ("accuracy", "loss"):
        assert report["metrics"][name]["value"] == pytest.approx(found[name], rel=1e-9)
        views = report["views"]["metrics"][name]["value"]
        assert views == pytest.approx(found[f"tta_{name}"], rel=1e-9)
    assert report["fitted_temperature"] is not None
    assert found["tta_loss"] != pytest.approx(found["loss"], rel=1e-3)


@pytest.mark.slow
def test_a_state_that_is_split_over_processes_ends_in_a_report(tmp_path, cache_dir):
    """Which the first process makes, of a state that all put together."""
    more = "--config.parallel.fsdp=4", "--config.model.filters=(32,64)"
    line = command_line(*SMALL, *more, "--workdir", tmp_path, cache_dir=cache_dir)
    line[-1] = "--config.report.resamples=100"  # in place of one that leaves the report out
    codes, logs = finish(start_pair(line, 2))
    assert codes == [0, 0], logs
    report = json.loads((tmp_path / "report" / "metrics.json").read_text())
    found = json.loads((tmp_path / "eval.json").read_text())
    assert report["metrics"]["loss"]["value"] == pytest.approx(found["loss"], rel=1e-9)
    assert (tmp_path / "report" / "report.html").is_file()


@pytest.mark.slow
def test_pmap_over_two_processes_trains_and_counts_too(undisturbed, tmp_path, cache_dir):
    more = "--config.parallel.mode=pmap", "--config.report.histograms=True"
    whole = command_line(*SMALL, *more, "--workdir", tmp_path / "whole", cache_dir=cache_dir)
    codes, logs = finish(start_pair(whole, 2))
    assert codes == [0, 0], logs
    shutil.copytree(undisturbed[0], tmp_path / "test")
    (tmp_path / "test/eval.json").unlink()
    test = command_line(*SMALL, *more, "--workdir", tmp_path / "test", cache_dir=cache_dir)
    codes, logs = finish(start_pair(test, 2))
    assert codes == [0, 0], logs
    found, expected = (
        json.loads((folder / "eval.json").read_text())
        for folder in (tmp_path / "test", undisturbed[0])
    )
    assert found["accuracy"] == expected["accuracy"] and found["num_examples"] == 359


def test_killed_and_stopped_pairs_end_in_the_same_parameters(tmp_path, cache_dir, undisturbed):
    """One is killed while a checkpoint is being written, then both; then one gets SIGTERM."""
    line = command_line(*SMALL, "--workdir", tmp_path, cache_dir=cache_dir)
    checkpoints, metrics = tmp_path / "checkpoints", tmp_path / "metrics.jsonl"

    def past(step):
        return metrics.exists() and f'{{"step": {step},' in metrics.read_text()

    def writing():
        return any("tmp" in path.name for path in checkpoints.glob("*")) or past(24)

    for moment, victims in ((writing, (1,)), (lambda: past(27), (0, 1))):
        pair = start_pair(line, 2)
        wait_for(moment)
        for victim in victims:
            pair[victim].send_signal(signal.SIGKILL)
        for process in pair:  # as launch/local.py does, and after the heartbeat JAX itself
            process.send_signal(signal.SIGKILL)
        assert finish(pair)[0] == [-signal.SIGKILL] * 2

    pair = start_pair(line, 2)
    wait_for(lambda: past(33) or pair[0].poll() is not None)
    pair[1].send_signal(signal.SIGTERM)
    codes, logs = finish(pair)
    assert codes == [143, 143], logs
    (stopped,) = [text for text in logs[0].splitlines() if text.startswith("stopped, step")]
    assert "stopped" not in logs[1]
    step = int(stopped.split()[2])
    assert (checkpoints / f"{step}.sha256").is_file()

    codes, logs = finish(start_pair(line, 2))
    assert codes == [0, 0], logs
    assert f"resuming from step {step}" in logs[0]
    assert_same_run(tmp_path, undisturbed[0])
    assert final_arrays(tmp_path)[0] == 41


@pytest.mark.slow
def test_a_process_that_dies_during_a_save_is_no_full_disk(tmp_path, cache_dir):
    """Nobody looks after the other one: JAX aborts it, or it says why itself."""
    more = "--config.checkpoint_every_steps=1", "--workdir", tmp_path
    first, second = start_pair(command_line(*SMALL, *more, cache_dir=cache_dir), heartbeat=10)
    wait_for(lambda: any("tmp" in path.name for path in (tmp_path / "checkpoints").glob("*")))
    second.send_signal(signal.SIGKILL)
    code, _, log = processes.finish(first)
    processes.finish(second)
    assert code in (134, -signal.SIGABRT), log
    assert "could not be written" not in log


def test_a_mistake_of_the_first_process_is_told_by_both_that_make_it(tmp_path, cache_dir):
    """With its own code, before JAX ends the other because the first has gone."""
    line = command_line(
        *SMALL, "--config.batch_size=9998", "--workdir", tmp_path, cache_dir=cache_dir
    )
    codes, logs = finish(start_pair(line))
    assert codes == [2, 2], logs
    assert all("batch_size=9998: there are 1,294 training images" in log for log in logs)


def test_the_checksum_of_first_parameters_tells_a_single_bit():
    one = {"a": np.float32(1), "b": np.arange(6, dtype=np.float16).reshape(2, 3).T}
    other = one | {"a": np.nextafter(np.float32(1), np.float32(2))}
    same, again, different = (
        checksum([SimpleNamespace(params=params)]) for params in (one, dict(one), other)
    )
    assert same == again != different
