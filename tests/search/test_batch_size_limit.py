"""The largest batch is found without allocating it, and the plan is that of the run's own step."""

import json

import jax
import pytest

from jaxcnn.config.keys import resolve
from jaxcnn.errors import UserError
from jaxcnn.runtime.mesh import make_parallel
from jaxcnn.search.batch_size_limit import find_batch_size, memory_limit, search, try_batch
from jaxcnn.training.loop import load_data
from jaxcnn.training.member import describe_data
from jaxcnn.training.run import build_run

ENOUGH = 10**12


@pytest.mark.parametrize("unit", [1, 8])
@pytest.mark.parametrize("limit", [8, 60, 64, 100, 777, 5000])
@pytest.mark.parametrize("start", [8, 64, 1024])
def test_the_search_ends_near_the_limit_whatever_it_starts_with(unit, limit, start):
    asked = []

    def fits(size):
        asked.append(size)
        return size <= limit

    found = search(fits, start, 3000, unit)
    assert all(size % unit == 0 and size <= 3000 for size in asked)
    assert found <= limit and fits(found)
    most = 3000 // unit * unit
    assert found == most or found + max(found // 4, unit) + unit > limit
    assert len(asked) <= 15


def test_nothing_fits_where_one_image_a_device_does_not():
    assert search(lambda size: False, 64, 1000, 8) is None
    assert search(lambda size: True, 64, 1000, 8) == 1000
    assert search(lambda size: size <= 8, 64, 1000, 8) == 8


def test_the_plan_grows_with_the_batch_and_is_that_of_the_runs_step(digits):
    config = resolve(digits)
    dataset = load_data(config)
    small, large = (try_batch(config, dataset, size, ENOUGH) for size in (64, 128))
    assert small.memory < large.memory < 2 * small.memory
    timed = try_batch(config, dataset, 64, ENOUGH, timed=True)
    assert timed.images_per_second > 0 and timed.memory == small.memory
    assert small.fits and not try_batch(config, dataset, 64, small.memory - 1).fits

    parallel = make_parallel("jit", 64, jax.devices())
    run = build_run([config], dataset, describe_data(config, dataset, None), parallel)
    state, batch = (
        run.parallel.place_states([run.make_states[0]()]),
        run.example_batch("train", True),
    )
    plan = run.train_step.lower(state, batch).compile().memory_analysis()
    own = plan.argument_size_in_bytes + plan.output_size_in_bytes - plan.alias_size_in_bytes
    one_batch = sum(leaf.nbytes for leaf in jax.tree.leaves(batch)) // len(jax.devices())
    # How much is scratch depends on the compiler's options; what goes in and out does not.
    assert own + one_batch < small.memory


def test_images_that_the_devices_hold_count(digits):
    config = resolve(digits)
    dataset = load_data(config)
    plain = try_batch(config, dataset, 64, ENOUGH)
    stored = try_batch(config, dataset._replace(mode="device"), 64, ENOUGH)
    assert stored.memory - plain.memory == 1797 * 8 * 8


def test_pmap_plans_as_much_as_jit_or_a_little_more(digits):
    dataset = load_data(resolve(digits))
    jit = try_batch(resolve(digits), dataset, 64, ENOUGH)
    digits.parallel.mode = "pmap"
    pmap = try_batch(resolve(digits), dataset, 64, ENOUGH)
    assert 0.8 * jit.memory < pmap.memory < 3 * jit.memory


def test_the_command_tells_a_table_and_writes_it(digits, tmp_path):
    config = resolve(digits)
    limit = try_batch(config, load_data(config), 128, ENOUGH).memory
    text = find_batch_size(digits, tmp_path, memory=limit)
    content = json.loads((tmp_path / "batch_size.json").read_text())
    assert [path.name for path in tmp_path.iterdir()] == ["batch_size.json"]
    assert 128 <= content["batch_size"] < 160 and content["memory_limit"] == limit
    sizes = [fit["batch_size"] for fit in content["tried"]]
    assert sizes == sorted(sizes) and {64, 128, 256} <= set(sizes)
    assert "does not fit" in text and "is the largest that fits" in text
    assert "times config.batch_size=64" in text and "Goyal" in text


def test_a_model_that_fits_nowhere_is_an_error_that_says_so(digits, tmp_path):
    digits.batch_size = 8
    with pytest.raises(UserError, match=r"even 8 takes .* smaller model"):
        find_batch_size(digits, tmp_path, memory=1000)
    assert not list(tmp_path.iterdir())


def test_a_model_that_cannot_be_built_is_an_error_in_one_line(digits, tmp_path):
    digits.model.strides = 99
    with pytest.raises(UserError, match=r"^config\.model: .*shrunk"):
        find_batch_size(digits, tmp_path)


def test_the_limit_is_a_stated_share():
    limit, told = memory_limit()
    assert 0 < limit < 2**50 and "50 % of the memory that is available now" in told
