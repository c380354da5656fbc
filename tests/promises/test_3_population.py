"""Promise 3, for a population: each member is what it is alone."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import MODELS, create_train_state, make_optimizer, make_train_step
from jaxcnn.builders.devices import build_parallel
from jaxcnn.config.keys import flatten, resolve, unflatten
from jaxcnn.core.losses import cross_entropy
from jaxcnn.core.optim import SCHEDULES
from jaxcnn.core.step_wrappers import StepInput, with_values
from jaxcnn.errors import UserError
from jaxcnn.runtime.mesh import make_parallel, population_parallel
from jaxcnn.training.loop import Training
from jaxcnn.training.population import MOST, TOGETHER, groups
from jaxcnn.training.run import build_run
from jaxcnn.training.train import finish, train
from tests.configs import given, message_of
from tests.steps import SHAPE, leaves, real_batch

PEAKS = (0.3, 0.03, 0.003)
STEPS = 50


def step_for(dtype):
    """Values of a member -> (train step, optimiser, model), under a schedule with its peak."""
    model = MODELS["cnn"](num_classes=10, filters=(8,), convs_per_stage=1, dropout=0.2, dtype=dtype)

    def build(values):
        schedule = SCHEDULES["cosine"](values["peak"], STEPS, warmup_steps=5)
        tx = make_optimizer("sgd", schedule, momentum=0.9, weight_decay=values["decay"])
        return make_train_step(model, tx), tx

    return model, build


def first(dtype, seed):
    model, build = step_for(dtype)
    _, tx = build({"peak": 1.0, "decay": 1e-3})
    state = create_train_state(model, tx, jax.random.key(seed), SHAPE)
    floats = lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x  # noqa: E731
    return jax.tree.map(floats, state)


def members():
    return [{"peak": peak, "decay": 1e-3 * (1 + n)} for n, peak in enumerate(PEAKS)]


def alone(dtype, batches):
    """[(state, losses)] of the members, each by itself, with seeds of their own."""
    found = []
    for seed, values in enumerate(members()):
        _, build = step_for(dtype)
        step, state, losses = jax.jit(build(values)[0]), first(dtype, seed), []
        for batch in batches:
            state, metrics = step(state, batch[seed])
            losses.append(float(metrics["loss"]))
        found.append((state, losses))
    return found


def together(dtype, batches, num_devices):
    """The same as a population."""
    _, build = step_for(dtype)
    parallel = population_parallel(jax.devices()[:num_devices], len(PEAKS))
    step = parallel.transform(with_values(lambda own: build(own)[0]), donate=True)
    values = [{k: jnp.asarray(v) for k, v in one.items()} for one in members()]
    values = parallel.place_states(values)
    state = parallel.place_states([first(dtype, seed) for seed in range(len(PEAKS))])
    losses = []
    for batch in batches:
        stacked = {k: np.stack([one[k] for one in batch]) for k in batch[0]}
        placed = parallel.place_batch(StepInput(stacked))._replace(values=values)
        state, metrics = step(state, placed)
        losses.append(parallel.each(metrics)["loss"])
    return [(parallel.member(state, n), np.array(losses)[:, n].tolist()) for n in range(len(PEAKS))]


def batches_of(count):
    """Each member sees digits of its own."""
    return [
        [real_batch(16, 16 * k + 100 * seed) for seed in range(len(PEAKS))] for k in range(count)
    ]


@pytest.mark.parametrize("num_devices", [1, 2])
def test_one_step_of_members_with_their_own_peak_decay_seed_and_batch_is_that_of_each(num_devices):
    """From the third step, where the schedules have left 0. Two devices do not divide three."""
    batches = batches_of(3)
    for one, many in zip(
        alone(np.float32, batches), together(np.float32, batches, num_devices), strict=True
    ):
        np.testing.assert_allclose(many[1], one[1], rtol=1e-5)
        expected = leaves(one[0].params)
        for name, leaf in leaves(many[0].params).items():
            scale = np.abs(expected[name]).max()
            np.testing.assert_allclose(leaf, expected[name], rtol=1e-5, atol=1e-5 * scale)


def test_fifty_steps_in_float64_agree_to_nine_digits():
    """A schedule that took another member's peak would be off in the first digit."""
    with jax.enable_x64(True):
        batches = batches_of(STEPS)
        expected = [losses for _, losses in alone(np.float64, batches)]
        found = [losses for _, losses in together(np.float64, batches, 2)]
    assert len({losses[-1] for losses in expected}) == len(PEAKS)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def small(cache_dir, **values):
    usual = {
        "num_steps": 8,
        "batch_size": 64,
        "data__cache_dir": str(cache_dir),
        "model__filters": (8,),
        "augment": (("crop", 1),),
        "eval_every_steps": 4,
        "checkpoint_every_steps": 4,
        "report__at_end": False,
    }
    return resolve(given(**usual | values))


OPTIMIZERS = {
    "sgd": ("momentum",),
    "adamw": ("b1", "b2", "eps"),
    "adam": ("b1", "b2", "eps"),
    "lamb": ("b1", "b2", "eps"),
    "lion": ("b1", "b2"),
    "lars": ("momentum",),
    "muon": ("eps",),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_is_traced_with_all_that_members_may_differ_in(optimizer, cache_dir):
    """And has a state of the same shape, so that a member's checkpoint is that of a lone run."""
    from jaxcnn.builders.data import build_dataset

    own = [key for key in TOGETHER if key.split(".")[-1] in OPTIMIZERS[optimizer]]
    general = [k for k in TOGETHER if k.split(".")[-1] not in ("momentum", "b1", "b2", "eps")]
    config = small(cache_dir, optimizer__name=optimizer)
    values = flatten(config)
    configs = []
    for factor in (0.5, 0.7):
        changed = dict.fromkeys(own + general[1:], factor)
        configs.append(resolve(unflatten(values | changed | {"seed": int(10 * factor)})))
    assert groups([with_population(c) for c in configs], [cache_dir, cache_dir]) == [[0, 1]]
    dataset = build_dataset(config)
    facts = {"mean": (0.5,), "std": (0.5,)}
    run = build_run(configs, dataset, facts, population_parallel(jax.devices()[:1], 2))
    states = [make() for make in run.make_states]
    after, _ = jax.eval_shape(
        run.train_step, run.parallel.place_states(states), run.example_batch("train", own=True)
    )
    lone = build_run(configs[:1], dataset, facts, make_parallel("jit", 64, jax.devices()[:1]))
    assert jax.tree.structure(after) == jax.tree.structure(jax.eval_shape(lone.make_states[0]))
    assert set(run.values) == {*own, *general[1:]}


def with_population(config):
    return resolve(unflatten(flatten(config) | {"parallel.population": True}))


def test_what_differs_in_more_than_numbers_is_no_group(cache_dir, tmp_path):
    def config(**values):
        return small(cache_dir, parallel__population=True, **values)

    one = config(optimizer__learning_rate=0.1, optimizer__weight_decay=0.1)
    configs = [
        one,
        config(optimizer__learning_rate=0.2, optimizer__weight_decay=0.2, seed=3),
        config(optimizer__learning_rate=0.2, optimizer__weight_decay=0.0),  # another program
        config(optimizer__learning_rate=0.2, optimizer__weight_decay=0.2, model__filters=(4,)),
        config(optimizer__learning_rate=0.1, optimizer__weight_decay=0.1, optimizer__clip_norm=1.0),
        resolve(unflatten(flatten(one) | {"parallel.population": None})),  # on this CPU: alone
    ]
    found = groups(configs, [tmp_path / str(n) for n in range(len(configs))])
    assert found == [[0, 1], [2], [3], [4], [5]]


def test_a_population_leaves_the_directories_of_lone_runs(cache_dir, tmp_path):
    """Metrics, checkpoints, final test: numbers agree, and a lone start finds its run finished."""
    configs = [
        small(cache_dir, parallel__population=True, seed=seed, optimizer__learning_rate=rate)
        for seed, rate in ((0, 0.01), (1, 0.001), (2, 0.003))
    ]
    workdirs = [tmp_path / f"seed_{n}" for n in range(3)]
    with Training(configs, workdirs, tensorboard=False) as training:
        seen = [(step, sorted(found)) for step, found in training]
        metrics = finish(training)
    assert seen == [(4, [0, 1, 2]), (8, [0, 1, 2])]
    assert training.failed == {}
    for n, config in enumerate(configs):
        lone = train(config, tmp_path / f"lone_{n}")
        names = {p.name for p in (tmp_path / f"lone_{n}").iterdir() if "tfevents" not in p.name}
        assert names == {path.name for path in workdirs[n].iterdir()}
        assert lone["checkpoint_step"] == metrics[n]["checkpoint_step"]
        np.testing.assert_allclose(metrics[n]["loss"], lone["loss"], rtol=1e-3)
        assert train(config, workdirs[n]) == metrics[n]
        first_lines = [
            json.loads((folder / "metrics.jsonl").read_text().splitlines()[0])
            for folder in (workdirs[n], tmp_path / f"lone_{n}")
        ]
        for name in ("step", "epoch", "split", "learning_rate"):
            assert first_lines[0][name] == first_lines[1][name]
        np.testing.assert_allclose(first_lines[0]["loss"], first_lines[1]["loss"], rtol=1e-4)


def test_a_member_that_fails_or_is_stopped_does_not_disturb_the_others(cache_dir, tmp_path):
    rates = (1e-3, 1e30, 2e-3)
    config = {"parallel__population": True, "optimizer__name": "sgd"}
    configs = [small(cache_dir, optimizer__learning_rate=rate, **config) for rate in rates]
    workdirs = [tmp_path / str(n) for n in range(3)]
    with Training(configs, workdirs, tensorboard=False) as training:
        seen = []
        for step, found in training:
            seen.append((step, sorted(found)))
            training.stop(2)
        metrics = finish(training)
    assert seen == [(4, [0, 2]), (8, [0])]
    assert list(training.failed) == [1]
    assert "(learning rate 9.62e+29)" in training.failed[1]
    assert sorted(metrics) == [0, 2]
    undisturbed = train(configs[0], tmp_path / "lone")
    np.testing.assert_allclose(metrics[0]["loss"], undisturbed["loss"], rtol=1e-3)


def test_a_population_that_was_stopped_goes_on_where_it_was(cache_dir, tmp_path):
    configs = [small(cache_dir, parallel__population=True, seed=seed) for seed in (0, 1)]

    def trained(name, stop_after):
        workdirs = [tmp_path / name / str(n) for n in range(2)]
        for workdir in workdirs:
            workdir.mkdir(parents=True, exist_ok=True)
        assert groups(configs, workdirs) == [[0, 1]]
        with Training(configs, workdirs, tensorboard=False) as training:
            for step, _ in training:
                if step == stop_after:
                    return None
            state = jax.tree.map(np.asarray, training.run.parallel.each(training.state.params))
        return leaves(state)

    undisturbed = trained("undisturbed", None)
    assert trained("disturbed", 4) is None
    resumed = trained("disturbed", None)
    for name, leaf in resumed.items():
        np.testing.assert_array_equal(leaf, undisturbed[name], err_msg=name)
    steps = [json.loads(line)["step"] for line in
             (tmp_path / "disturbed" / "1" / "metrics.jsonl").read_text().splitlines()]  # fmt: skip
    assert steps == [4, 4, 8, 8]


def test_label_smoothing_and_decay_of_zero_are_left_out_of_the_program():
    logits, label = jnp.ones((2, 3)), jnp.zeros(2, jnp.int32)
    plain = jax.make_jaxpr(cross_entropy)(logits, label)
    zero = jax.make_jaxpr(lambda *a: cross_entropy(*a, label_smoothing=0.0))(logits, label)
    assert str(zero) == str(plain)


def test_a_population_that_cannot_be_is_refused(cache_dir):
    expected = "config.parallel.population=True: a population is for parallel.mode=jit and "
    for other in ({"parallel__mode": "pmap"}, {"parallel__fsdp": 2}):
        assert message_of(parallel__population=True, **other).startswith(expected)
    config = small(cache_dir, parallel__population=True, batch_size=60)
    with pytest.raises(UserError, match="batch_size=60: 8 devices do not divide it"):
        build_parallel([config, config])  # as each of them alone, which it may have to be


def test_more_members_than_one_program_has_are_several(cache_dir, tmp_path):
    configs = [small(cache_dir, parallel__population=True, seed=seed) for seed in range(MOST + 3)]
    found = groups(configs, [tmp_path / str(n) for n in range(len(configs))])
    assert [len(group) for group in found] == [MOST, 3]
