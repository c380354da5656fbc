"""Promise 2 under fire: disks that fill, files that rot, and processes that are killed again and
again; in the end there are the parameters of a run that nothing happened to.
"""

import json
import os
import random
import resource
import shutil
import signal
import time

import pytest

from tests import processes
from tests.processes import command_line
from tests.promises.test_2_clock import assert_same_run, final_arrays, metric_lines
from tests.several import Launched, wait_for

# 0.7 MB a checkpoint, so that a limit tells it from the other files.
ARGUMENTS = (
    "--config", "experiments/digits.py", "--config.model.filters=(16,64)", "--config.num_steps=60",
    "--config.model.convs_per_stage=1", "--config.checkpoint_every_steps=5",
)  # fmt: skip
# A run long enough to be killed twenty times.
LONG = (
    "--config", "experiments/digits.py", "--config.model.filters=(4,8)",
    "--config.model.convs_per_stage=1", "--config.checkpoint_every_steps=30",
    "--config.log_every_steps=10",
)  # fmt: skip
KILLS = 20


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, cache_dir):
    workdir = tmp_path_factory.mktemp("undisturbed")
    code, _, log = processes.finish(start(ARGUMENTS, workdir, cache_dir))
    assert code == 0, log
    return workdir


def start(arguments, workdir, cache_dir):
    return processes.start(command_line(*arguments, "--workdir", workdir, cache_dir=cache_dir))


def saved(workdir):
    """The steps of the finished checkpoints."""
    return sorted(int(path.stem) for path in (workdir / "checkpoints").glob("*.sha256"))


def digest(workdir):
    """The content of all files of the finished checkpoints."""
    folders = [workdir / "checkpoints" / str(step) for step in saved(workdir)]
    return {path: path.read_bytes() for f in folders for path in f.rglob("*") if path.is_file()}


def test_a_full_disk_ends_a_run_in_one_line_and_loses_nothing(tmp_path, cache_dir, undisturbed):
    """No file of the process may grow over 100 kB any more, while it goes on training."""
    process = start(ARGUMENTS, tmp_path, cache_dir)
    wait_for(lambda: saved(tmp_path) or process.poll() is not None)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (100_000, 100_000))
    code, _, log = processes.finish(process)
    assert code == 2, log
    last = log.splitlines()[-1]
    assert last.startswith(f"error: {tmp_path}/checkpoints: the checkpoint could not be written (")
    assert last.endswith("); earlier ones are intact: free some space and start again to resume")
    assert "Traceback" not in log and log.count("error:") == 1

    before = saved(tmp_path)
    assert before and not (tmp_path / "eval.json").exists()
    code, _, log = processes.finish(start(ARGUMENTS, tmp_path, cache_dir))
    assert code == 0 and f"resuming from step {before[-1]} of 60" in log, log
    assert "damaged" not in log
    assert_same_run(tmp_path, undisturbed)


@pytest.mark.parametrize("damage", ["flipped", "truncated"])
def test_a_rotten_checkpoint_is_named_and_the_run_still_ends_the_same(
    damage, tmp_path, cache_dir, undisturbed
):
    shutil.copytree(undisturbed, tmp_path, dirs_exist_ok=True)
    (tmp_path / "eval.json").unlink()
    newest, older = saved(tmp_path)[-1], saved(tmp_path)[-2]
    file = max((tmp_path / f"checkpoints/{newest}").rglob("d/*"), key=lambda p: p.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content if damage == "flipped" else content[:-1])
    what = {
        "flipped": "has changed",
        "truncated": f"has {len(content) - 1} bytes of {len(content)}",
    }
    name = file.relative_to(tmp_path / f"checkpoints/{newest}")

    code, _, log = processes.finish(start(ARGUMENTS, tmp_path, cache_dir))
    assert code == 0, log
    assert (
        f"warning: checkpoint {newest} is damaged ({name} {what[damage]}): moved to "
        f"damaged-{newest}\n" in log
    )
    assert f"resuming from step {older} of 60" in log
    assert_same_run(tmp_path, undisturbed)
    assert metric_lines(tmp_path) == metric_lines(undisturbed)


class Alone:
    """A run of one process, with the interface of `Launched`."""

    def __init__(self, line, log):
        self._process = processes.start(line)
        self.pids = [self._process.pid]

    def poll(self):
        return self._process.poll()

    def kill(self, *numbers):
        self._process.send_signal(signal.SIGKILL)

    def finish(self):
        code, _, log = processes.finish(self._process)
        return code, log


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "steps"), [(Alone, 6000), (Launched, 1500)], ids=["one process", "two processes"]
)
def test_chaos(kind, steps, tmp_path, cache_dir):
    """Killed at random moments, one process or both, at least twenty times before it ends."""
    more = f"--config.num_steps={steps}"

    def begin(workdir):
        line = command_line(*LONG, more, "--workdir", workdir, cache_dir=cache_dir)
        return kind(line, tmp_path / "log")

    clock = time.monotonic()
    calm, stormy = tmp_path / "calm", tmp_path / "stormy"
    code, log = begin(calm).finish()
    assert code == 0, log
    calm_seconds = time.monotonic() - clock

    dice = random.Random(os.environ.get("CHAOS_SEED", "0"))
    kills = {"starting": 0, "training": 0, "writing": 0}
    reached = [0]
    while sum(kills.values()) < KILLS:
        run, before = begin(stormy), max(saved(stormy), default=0)
        early = dice.random() < 0.2
        if early:  # before it trains
            time.sleep(dice.uniform(0.1, 4.0))
        else:
            wait_for(lambda: max(saved(stormy), default=0) > before or run.poll() is not None)  # noqa: B023
            time.sleep(dice.uniform(0.0, 1.0))
        if not early and dice.random() < 0.5:
            wait_for(lambda: writing(stormy) or run.poll() is not None, 10)  # noqa: B023
        assert run.poll() is None, f"it ended after {kills}: make it longer"
        when = "starting" if max(saved(stormy), default=0) == before else "training"
        kills["writing" if writing(stormy) else when] += 1
        victims = dice.choice([[0], [1], [0, 1]]) if len(run.pids) > 1 else [0]
        run.kill(*victims)
        code, log = run.finish()
        assert code in (134, -signal.SIGKILL), log
        assert not (stormy / "eval.json").exists()
        reached.append(max(saved(stormy), default=0))
    code, log = begin(stormy).finish()
    assert code == 0, log
    assert reached == sorted(reached), "a checkpoint that was finished has been lost"
    assert_same_run(stormy, calm)
    assert metric_lines(stormy) == metric_lines(calm)
    assert final_arrays(stormy)[0] == steps
    seconds = f"{calm_seconds:.0f} s undisturbed, {time.monotonic() - clock:.0f} s in all"
    print(f"{kind.__name__}: survived {json.dumps(kills)}, {seconds}")


def writing(workdir):
    """Whether a checkpoint is being written: Orbax's files, or the manifest that is missing."""
    names = {path.name for path in (workdir / "checkpoints").glob("*")}
    steps = {name for name in names if name.isdigit()}
    return any("tmp" in name for name in names) or any(f"{s}.sha256" not in names for s in steps)
