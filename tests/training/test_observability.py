"""Where time, arithmetic and memory of a run go."""

import json
import time
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from jaxcnn import create_train_state, make_optimizer, make_train_step
from jaxcnn.runtime.memory import PEAK_FLOPS, memory_peak, peak_flops, step_flops
from jaxcnn.runtime.profile import Profile
from jaxcnn.runtime.window import StepTimes
from jaxcnn.training.train import train
from tests.conftest import small_digits
from tests.steps import real_batch


def train_lines(workdir):
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["split"] == "train"]


@pytest.fixture(scope="module")
def profiled(cache_dir, tmp_path_factory):
    """The directory of a run on devices with a peak, as a CPU has not, with a trace."""
    config = small_digits(cache_dir)
    config.batch_size = 64
    config.num_epochs, config.num_steps = None, 24
    config.log_every_steps = 8
    workdir = tmp_path_factory.mktemp("profiled")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(PEAK_FLOPS, jax.devices()[0].device_kind, 1e9)
        train(config, workdir, profile=True)
    return workdir


def test_a_line_says_where_the_time_of_a_step_goes(profiled):
    for line in train_lines(profiled):
        parts = [line[name] for name in ("data_wait_ms", "dispatch_ms", "device_wait_ms")]
        assert min(parts) >= 0 and sum(parts) <= 1.01 * line["step_ms"]
        images = 64 * 1e3 / line["step_ms"]
        assert line["images_per_second"] == pytest.approx(images, rel=1e-3)
    assert sum(parts) > 0.3 * line["step_ms"], "of steps that are not the first ones, most is known"


def test_a_line_says_how_busy_the_devices_are_and_how_full_memory_has_been(profiled):
    first, *_, last = train_lines(profiled)
    # 8 devices of 1 GFLOP/s.
    flops = first["mfu"] * 8e9 * first["step_ms"] / 1e3
    assert flops / 64 == pytest.approx(3 * 2 * (64 * 9 * 8 + 16 * 72 * 16 + 16 * 10), rel=0.3)
    assert last["mfu"] > 0
    assert 50 < first["process_memory_peak_mb"] <= last["process_memory_peak_mb"] < 64_000


def test_a_trace_of_a_few_steps_lies_where_tensorboard_looks_for_it(profiled):
    (trace,) = profiled.glob("plugins/profile/*/*.xplane.pb")
    planes = jax.profiler.ProfileData.from_file(str(trace)).planes
    events = [event for plane in planes for line in plane.lines for event in line.events]
    steps = [dict(event.stats)["step_num"] for event in events if event.name == "train"]
    assert steps == [5, 6, 7, 8, 9, 10]


def test_a_trace_of_the_user_goes_on_where_ours_cannot_begin(tmp_path):
    with jax.profiler.trace(str(tmp_path / "mine")):
        with pytest.raises(Exception, match="Only one profile"), Profile(tmp_path, 0) as profile:
            profile.step(5, None)
        jnp.ones(3).block_until_ready()
    assert list(tmp_path.glob("mine/plugins/profile/*/*.xplane.pb"))


class Convolutions(nn.Module):
    """Two convolutions without padding and a dense layer: arithmetic that a hand can count."""

    @nn.compact
    def __call__(self, x, train):
        del train
        x = nn.relu(nn.Conv(16, (3, 3), padding="VALID", use_bias=False)(x))
        x = nn.relu(nn.Conv(32, (3, 3), padding="VALID", use_bias=False)(x))
        return nn.Dense(10, use_bias=False)(x.reshape(len(x), -1))


def test_the_flops_of_a_step_are_those_of_a_hand_calculation():
    model, tx = Convolutions(), make_optimizer("sgd", 0.1)
    state = create_train_state(model, tx, jax.random.key(0), (8, 8, 1))
    first = 6 * 6 * 16 * (9 * 1)
    second = 4 * 4 * 32 * (9 * 16)
    dense = 4 * 4 * 32 * 10
    # Forward, gradient of the weights, and gradient of the input, which the images do not need.
    by_hand = 2 * (2 * first + 3 * second + 3 * dense)
    counted = step_flops(jax.jit(make_train_step(model, tx)).lower(state, real_batch(32))) / 32
    assert counted == pytest.approx(by_hand, rel=0.05)


def test_a_batch_over_eight_devices_has_the_flops_of_one():
    from jaxcnn.runtime.mesh import make_parallel

    model, tx = Convolutions(), make_optimizer("sgd", 0.1)
    found = []
    for devices in (jax.devices()[:1], jax.devices()):
        parallel = make_parallel("jit", 32, devices)
        state = create_train_state(model, tx, jax.random.key(0), (8, 8, 1))
        step = parallel.transform(make_train_step(model, tx), donate=False)
        batch = parallel.place_batch(real_batch(32))
        found.append(step_flops(step.lower(parallel.place_state(state), batch)))
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_the_peak_of_several_devices_is_their_sum_and_of_unknown_ones_unknown(monkeypatch):
    assert peak_flops(jax.devices()) is None
    monkeypatch.setitem(PEAK_FLOPS, jax.devices()[0].device_kind, 2.0)
    assert peak_flops(jax.devices()) == 16.0


def test_times_are_means_over_steps_since_the_last_time():
    times = StepTimes()

    def slow():
        for k in range(2):
            time.sleep(0.02)
            yield k

    assert list(times.batches(slow())) == [0, 1]
    with times.spent("dispatch"):
        time.sleep(0.01)
    taken = times.take(2)
    assert 20 <= taken["data_wait_ms"] < 60 and 5 <= taken["dispatch_ms"] < 40
    assert taken["device_wait_ms"] == 0
    assert times.take(2) == {"data_wait_ms": 0, "dispatch_ms": 0, "device_wait_ms": 0}


def test_the_memory_of_a_process_is_its_high_water_mark():
    assert jnp.zeros(1).device.memory_stats() is None  # else it would be that of the device
    status = Path("/proc/self/status")
    if not status.exists():
        pytest.skip("the kernel does not tell")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    kilobytes = int(line.split()[1])
    assert memory_peak()["process_memory_peak_mb"] == pytest.approx(kilobytes * 1.024e-3, rel=0.05)
