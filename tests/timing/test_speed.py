"""How fast a training is: the parts are those of the training, and the numbers follow from them."""

import json
import signal
import subprocess
import sys

import numpy as np
import pytest

from jaxcnn.config.keys import resolve
from jaxcnn.files.rundir import environment
from jaxcnn.timing.speed import Work, derived, open_timed, start_run, time_steps, with_fewer
from jaxcnn.timing.speed_table import MEASURES, report, side_by_side, spread, table
from jaxcnn.training.loop import load_data
from tests.processes import ROOT
from tests.processes import environment as of_process

TIMES = {
    "bare_step_ms": [100, 100, 100],
    "bare_step_cpu_ms": [150, 150, 150],
    "step_ms": [110, 110, 110],
    "step_cpu_ms": [160, 160, 160],
    "batches_step_ms": [120, 125, 115],
    "batches_step_cpu_ms": [170, 170, 170],
    "loop_step_ms": [121, 126, 116],
    "loop_step_cpu_ms": [180, 180, 180],
    "checkpoint_ms": [50, 50, 50],
    "checkpoint_cpu_ms": [60, 60, 60],
    "evaluation_images_per_second": [4000, 4000, 4000],
}
WORK = {
    "batch_size": 128, "image_shape": [32, 32, 3], "training_images": 1000, "data_mode": "memory",
    "steps_of_a_round": 4, "rounds": 3, "evaluated": "256 of test", "checkpoint_every_steps": 50,
}  # fmt: skip


def test_the_parts_are_those_of_a_training(digits, tmp_path):
    """Each trains so many steps; the loop logs, and saves every fourth block; nothing else does."""
    workdir = tmp_path / "run"
    with open_timed(resolve(digits), workdir, Work(4, "test", 64), rounds=1) as timed:
        state = lambda: int(timed._training.state.step)  # noqa: E731
        for part, trained in (
            (timed.bare, 4),
            (timed.step, 4),
            (timed.batches, 4),
            (timed.loop, 8),
        ):
            before = state()
            found = part()
            assert state() - before == trained, part
            assert all(name in {*TIMES} for name in found) and len(found) in (2, 4)
        before = state()
        assert timed.evaluation()["evaluation_images_per_second"] > 0 and state() == before
    assert [path.name for path in (workdir / "checkpoints").iterdir() if path.is_dir()] == ["8"]
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [(line["split"], line["step"]) for line in lines] == [
        ("train", step) for step in (2, 4, 6, 8, 10)
    ]


def test_time_is_for_each_step_and_fewer_images_are_the_first(digits):
    config = resolve(digits)
    run, state, first, compiling = start_run(config, load_data(config))
    state, wall, cpu = time_steps(run, state, [first] * 9, 3)
    assert int(state.step) == 3 and wall > 0 and cpu > 0 and compiling > 0
    fewer = with_fewer(run, "test", 100).dataset.splits
    assert np.array_equal(fewer["test"].rows, run.dataset.splits["test"].rows[:100])
    assert len(fewer["train"]) == len(run.dataset.splits["train"])


def test_ratios_are_those_of_each_round():
    found = derived(TIMES, batch_size=128, checkpoint_every=50, least_step_ms=11)
    assert found["images_per_second"].median == pytest.approx(128 / 0.11)
    assert found["augmentation_percent"].median == pytest.approx(10)
    assert found["input_bound_percent"].median == pytest.approx(100 * (1 - 110 / 120))
    assert found["end_to_end_ms"].values == (122, 127, 117)  # a checkpoint's 50 ms over 50 steps
    assert found["end_to_end_percent"].median == pytest.approx(22)
    assert found["end_to_end_cpu_percent"].median == pytest.approx(100 * (181.2 / 150 - 1))
    assert found["evaluation_ratio"].median == pytest.approx(4000 * 0.11 / 128)
    assert found["mfu_percent"].median == pytest.approx(10)


def test_without_augmentation_the_step_is_the_bare_one():
    found = derived({k: v for k, v in TIMES.items() if "bare" not in k}, 128, 50)
    assert found["end_to_end_percent"].median == pytest.approx(100 * (122 / 110 - 1))
    assert not {"augmentation_percent", "mfu_percent", "bare_step_ms"} & found.keys()


def content(digits, **factors):
    """A report; factors: of what was measured."""
    measured = derived({k: [*v, v[1], v[2]] for k, v in TIMES.items()}, 128, 50)
    measured |= {"compile_s": spread([3.0])}
    for name, factor in factors.items():
        measured[name] = spread([factor * value for value in measured[name].values])
    made = report(resolve(digits), "experiments/x.py", measured, WORK, load_before=0.5)
    return json.loads(json.dumps(made))


def test_the_report_says_what_was_measured_where_and_when(digits):
    made = content(digits)
    assert made["environment"]["versions"] == environment()["versions"]
    assert made["config"]["batch_size"] == digits.batch_size and made["date"].endswith("+00:00")
    assert made["measured"]["step_ms"] == {
        "median": 110, "low": 110, "high": 110, "values": [110] * 5,
    }  # fmt: skip
    lines = table(made).splitlines()
    assert lines[0].startswith("experiments/x.py: 128 images of 32x32x3 a step, on 8 cpu")
    assert lines[-1].split()[:2] == ["MFU", "unknown"]
    busy = table(made | {"load": [made["cores"], 1.0]}).splitlines()
    assert busy[-1].startswith("the machine was busy before")
    labels = [MEASURES[name].label for name in MEASURES if name in made["measured"]]
    assert all(line.startswith(label) for line, label in zip(lines[4:], labels, strict=False))


def test_a_comparison_tells_luck_from_difference_and_names_what_is_different(digits):
    a = content(digits)
    digits.optimizer.learning_rate = 0.25
    b = content(digits, step_ms=0.5, batches_step_ms=1.01, images_per_second=0.5, compile_s=2)
    b["environment"]["versions"]["jax"] = "9.9"
    b["environment"]["devices"] = ["gpu:0 NVIDIA H200"]
    told = side_by_side(a, b)
    lines = {line[:24].strip(): line[24:].split() for line in told.splitlines()}
    assert lines["step, ms"] == ["110.0", "55.0", "0.50x", "better"]
    assert lines["images/s"][-2:] == ["0.50x", "worse"]
    assert lines["with real batches, ms"][-3:] == ["within", "the", "spread"]
    assert lines["compiling, s"][-3:] == ["few", "to", "tell"]
    differ = told.split("they differ in:\n")[1].splitlines()
    assert [line.split(":")[0].strip() for line in differ] == [
        "config.optimizer.learning_rate", "devices", "jax",
    ]  # fmt: skip
    assert "0.001 in a, 0.25 in b" in differ[0]
    assert side_by_side(a, a).endswith("same config, versions and devices")
    busy = side_by_side(a, b | {"load": [b["cores"], 0.0]})
    assert "busy before: b (load a 0.5, b" in busy.splitlines()[-1]


SMALL = ("--config.model.filters=(8,)", "--config.model.convs_per_stage=1", "--config.batch_size=8")
PLAIN = "--config.augment=()"


def test_the_command_prints_a_table_and_keeps_it_as_json(command, tmp_path, monkeypatch):
    """And leaves nothing else behind."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    file, asked = tmp_path / "a.json", ("--rounds=2", "--seconds=0", "--starts=0")
    config = ("--config", "experiments/digits.py", *SMALL)
    module = "jaxcnn.benchmark"
    done = command(*config, *asked, f"--output={file}", module=module, check=0)
    made = json.loads(file.read_text())
    expected = {*MEASURES} - {"mfu_percent", "first_step_cold_s", "first_step_warm_s"}
    assert made["measured"].keys() & MEASURES.keys() == expected - {"device_memory_peak_mb"}
    assert done.stdout == f"{table(made)}\n\nmore in {file}\n"
    assert made["config"]["batch_size"] == 8 and made["work"]["training_images"] == 1294
    assert f"--output={file}" in made["environment"]["command"]
    assert not list((tmp_path / "temporary").glob("jaxcnn*"))
    compared = command("--compare", file, tmp_path / "a.json", module=module, check=0)
    assert "\nsame config, versions and devices\n" in compared.stdout


def test_ctrl_c_ends_it_and_nothing_is_written(tmp_path, cache_dir):
    file = tmp_path / "a.json"
    asked = ("--rounds=100000", "--seconds=0", "--starts=0", f"--output={file}")
    line = [sys.executable, "-m", "jaxcnn.benchmark", "--config", "experiments/digits.py"]
    line += [*SMALL, PLAIN, *asked, f"--config.data.cache_dir={cache_dir}"]
    process = subprocess.Popen(
        line, cwd=ROOT, env=of_process(1), text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    for said in process.stderr:
        if said.startswith("round 1 "):
            process.send_signal(signal.SIGINT)
            break
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    assert stderr.splitlines()[-1] == "stopped; nothing was written"
    assert stdout == "" and not list(tmp_path.iterdir())


def test_a_mistake_in_the_config_is_told_as_the_training_tells_it(command):
    asked = ("--config", "experiments/digits.py", "--config.batch_size=100000")
    done = command(*asked, module="jaxcnn.benchmark", check=2)
    assert done.stdout == ""
    assert done.stderr.splitlines()[-1].startswith("error: config.batch_size=100000: there are ")


@pytest.mark.slow
def test_programs_of_several_steps_are_timed_whatever_their_run_allows(command):
    """The config has an evaluation every 8 steps, the loop that is timed has none."""
    more = "--config.data.mode=device", "--config.parallel.steps_per_dispatch=16"
    config = ("--config", "experiments/digits.py", *SMALL, *more, "--config.eval_every_steps=8")
    asked = ("--rounds=2", "--seconds=0", "--starts=0")
    assert "bare step" in command(*config, *asked, module="jaxcnn.benchmark", check=0).stdout


@pytest.mark.slow
def test_new_processes_are_timed_to_their_first_step(command, tmp_path):
    config = ("--config", "experiments/digits.py", *SMALL)
    asked = ("--rounds=2", "--seconds=0", "--starts=1", f"--output={tmp_path}")
    command(*config, *asked, module="jaxcnn.benchmark", check=0)
    made = json.loads((tmp_path / "speed.json").read_text())
    cold, warm = (made["measured"][f"first_step_{kind}_s"]["median"] for kind in ("cold", "warm"))
    assert 0 < warm < cold
    for parts in made["first_step_parts"].values():
        assert any(part.startswith("compiled for ") for part in parts)
