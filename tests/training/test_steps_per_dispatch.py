"""Several steps to a program: the run that it is without."""

import signal
from itertools import accumulate, chain

import pytest

from jaxcnn.builders.devices import build_parallel, steps_per_dispatch
from jaxcnn.config.durations import make_plan
from jaxcnn.config.keys import flatten, resolve
from jaxcnn.errors import UserError
from jaxcnn.runtime.preemption import Interrupted
from jaxcnn.training.loop import Training
from jaxcnn.training.train import train
from tests.configs import message_of
from tests.conftest import small_digits
from tests.promises.test_2_clock import assert_same_run, metric_lines


def several(cache_dir):
    """22 steps, of which a line, an evaluation and a checkpoint leave stretches of 1 to 5."""
    digits = small_digits(cache_dir)
    digits.num_epochs, digits.num_steps, digits.batch_size = None, 22, 16
    digits.log_every_steps, digits.eval_every_epochs, digits.eval_every_steps = 5, None, 7
    digits.checkpoint_every_epochs, digits.checkpoint_every_steps = None, 14
    digits.data.mode, digits.model.filters = "device", (4,)
    digits.parallel.steps_per_dispatch = 3
    return digits


@pytest.fixture
def config(cache_dir):
    return several(cache_dir)


@pytest.fixture(scope="module")
def undisturbed(cache_dir, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    train(several(cache_dir), workdir)
    return workdir


def test_lines_and_their_numbers_are_those_of_steps_one_by_one(config, undisturbed, tmp_path):
    config.parallel.steps_per_dispatch = 1
    train(config, tmp_path)
    lines = [line for line in metric_lines(undisturbed) if line["split"] == "train"]
    alone = [line for line in metric_lines(tmp_path) if line["split"] == "train"]
    assert [line["step"] for line in lines] == [5, 7, 10, 14, 15, 20, 21, 22]
    assert len(lines) == len(alone)
    for one, other in zip(lines, alone, strict=True):
        assert {k: v for k, v in one.items() if k != "split"} == pytest.approx(
            {k: v for k, v in other.items() if k != "split"}, rel=1e-3
        )


def test_a_run_that_is_stopped_between_ends_in_the_same_bits(config, undisturbed, tmp_path):
    config, workdir = resolve(config), tmp_path / "stopped"
    with Training([config], [workdir]) as training, pytest.raises(Interrupted) as stop:
        for step, _ in training:
            if step == 7:  # the program of steps 8 to 10 is started before anybody looks
                signal.raise_signal(signal.SIGTERM)
    assert stop.value.step == 10
    train(config, tmp_path / "stopped")
    assert_same_run(tmp_path / "stopped", undisturbed)


def test_programs_end_where_something_is_due_and_depend_on_the_step_alone(config):
    plan = make_plan(flatten(config), 1294)

    def ends(start):
        counts, step = [], start
        while step < plan.num_steps:
            counts.append(plan.steps_per_dispatch(step, 3))
            step += counts[-1]
        return list(accumulate(chain([start], counts)))

    assert ends(0) == [0, 3, 4, 5, 6, 7, 10, 13, 14, 15, 18, 19, 20, 21, 22]
    assert all(ends(step) == ends(0)[place:] for place, step in enumerate(ends(0)))
    assert plan.most_steps_per_dispatch() == 5


def test_what_cannot_be_one_program_is_refused(config):
    assert "config.parallel.steps_per_dispatch=0" in message_of(parallel__steps_per_dispatch=0)
    plan = make_plan(flatten(config), 1294)

    def refused(configs, mode):
        with pytest.raises(UserError) as error:
            steps_per_dispatch(config, plan, build_parallel(configs), mode, 64)
        return str(error.value)

    told = refused([config], "stream")
    assert told == (
        "config.parallel.steps_per_dispatch=3: is for parallel.mode=jit with data.mode=device; "
        "data.mode=stream takes a step at a time: leave it out"
    )
    population = build_parallel([config, config])
    assert steps_per_dispatch(config, plan, population, "device", 64) == 1
    config.parallel.mode = "pmap"
    assert "parallel.mode=pmap" in refused([config], "device")


def test_more_than_lines_leave_room_for_are_as_many_as_they_do(config, caplog):
    config.parallel.steps_per_dispatch = 100
    plan = make_plan(flatten(config), 1294)
    assert steps_per_dispatch(config, plan, build_parallel([config]), "device", 64) == 5
    assert "steps_per_dispatch=100: after 5 steps a line, an evaluation or a checkpoint" in (
        caplog.text
    )
    config.parallel.steps_per_dispatch = None
    assert steps_per_dispatch(config, plan, build_parallel([config]), "device", 64) == 1, "on a CPU"
