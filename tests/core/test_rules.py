"""One rule for each parameter: frozen stays bit-identical, multipliers multiply, tables add up."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import MODELS, create_train_state, make_eval_step, make_optimizer, make_train_step
from jaxcnn.core.optim import SCHEDULES, optimizers
from jaxcnn.core.rules import (
    Rule,
    RuleMismatch,
    assign,
    by_rule,
    layer_decay_rules,
    parameter_paths,
    parameter_stages,
    rule_table,
)
from tests.steps import SHAPE, leaves, real_batch

PATHS = ("stem/kernel", "stage1/conv/kernel", "stage1/conv/bias", "head/kernel")


def toy():
    """Parameters of four paths, all 2, and gradients, all 1."""
    params = {
        "stem": {"kernel": jnp.full((3, 3, 1, 2), 2.0)},
        "stage1": {"conv": {"kernel": jnp.full((3, 3, 2, 4), 2.0), "bias": jnp.full(4, 2.0)}},
        "head": {"kernel": jnp.full((4, 5), 2.0)},
    }
    return params, jax.tree.map(jnp.ones_like, params)


def walk(tx, steps=1):
    """[{path: the first number of each parameter} after each of so many updates]"""
    params, gradients = toy()

    def update(carry, _):
        params, state = carry
        updates, state = tx.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
        firsts = {path: leaf.ravel()[0] for path, leaf in parameter_paths(params).items()}
        return (params, state), firsts

    _, walked = jax.jit(lambda carry: jax.lax.scan(update, carry, length=steps))(
        (params, tx.init(params))
    )
    return [{path: float(values[k]) for path, values in walked.items()} for k in range(steps)]


def test_a_parameter_has_the_path_a_reader_would_write():
    assert parameter_paths(toy()[0]).keys() == set(PATHS)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (("stem", "stage1", "head"), [0, 1, 1, 2]),
        (("kernel$", "bias$"), [0, 0, 1, 0]),
        (("^stage1/", "rest"), [1, 0, 0, 1]),
        (("rest", "bias"), [0, 0, 1, 0]),
        ((".", "rest"), [0, 0, 0, 0]),
    ],
)
def test_every_parameter_has_exactly_one_rule(patterns, expected):
    assigned = assign([Rule(pattern) for pattern in patterns], PATHS)
    assert list(assigned.items()) == list(zip(PATHS, expected, strict=True))


@pytest.mark.parametrize(
    ("patterns", "told"),
    [
        (("stem", "head"), "stage1/conv/kernel fits no rule"),
        (("stage1", "kernel", "rest"), "stage1/conv/kernel fits two rules, 'stage1' and 'kernel'"),
        (("stage2", "rest"), "'stage2' fits none of the 4 parameters (stem/kernel, stage1/"),
    ],
)
def test_a_parameter_without_a_rule_or_with_two_is_named(patterns, told):
    rules = [Rule(pattern) for pattern in patterns]
    with pytest.raises(RuleMismatch) as error:
        assign(rules, PATHS)
    assert told in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(RuleMismatch):
        make_optimizer("sgd", 0.1, rules=rules).init(toy()[0])


def test_the_table_counts_every_parameter_once():
    rules = (Rule("stem", frozen=True), Rule("stage1", 0.1, 0.0, frozen=7), Rule("rest"))
    table = rule_table(rules, toy()[0])
    assert [line.split()[:3] for line in table.splitlines()[1:]] == [
        ["stem", "1", "18"], ["stage1", "2", "76"], ["rest", "1", "20"]
    ]  # fmt: skip
    assert "x 0.1" in table and "frozen for 7 updates" in table


def test_one_rule_for_all_is_no_rule():
    plain = partial(make_optimizer, "adamw", SCHEDULES["cosine"](0.1, 10), weight_decay=0.1)
    assert walk(plain(clip_norm=1.0), 3) == walk(plain(clip_norm=1.0, rules=(Rule("rest"),)), 3)


def test_multipliers_multiply_rate_and_decay():
    rules = (Rule("stem", learning_rate=0.1), Rule("stage1", weight_decay=0.0), Rule("rest"))
    found = walk(make_optimizer("sgd", 0.1, weight_decay=0.5, rules=rules))[-1]
    # 2 - rate * (1 + decay * 2), with decay for kernels only
    assert [found[path] for path in PATHS] == pytest.approx([1.98, 1.9, 1.9, 1.8])


COMMON = ("sgd", "adamw", "lamb", "lars", "lion", "adafactor")  # the others when asked for


@pytest.mark.parametrize(
    "name", [n if n in COMMON else pytest.param(n, marks=pytest.mark.slow) for n in optimizers()]
)
def test_what_is_frozen_stays_and_what_thaws_learns_under_every_optimizer(name):
    rules = (Rule("stem", frozen=True), Rule("stage1", frozen=2), Rule("rest"))
    tx = make_optimizer(
        name, SCHEDULES["cosine"](0.01, 10), weight_decay=0.1, clip_norm=1.0, rules=rules
    )
    _, before, after = walk(tx, 3)
    start = 2.0
    assert {path for path, value in before.items() if value != start} == {"head/kernel"}
    assert {path for path, value in after.items() if value != start} == {*PATHS} - {"stem/kernel"}


def test_a_rule_that_thaws_has_the_rate_of_the_step_and_fresh_moments():
    schedule = SCHEDULES["triangular"](1.0, 10)
    rules = (Rule("head", frozen=3), Rule("rest"))
    found = walk(make_optimizer("sgd", schedule, momentum=0.9, rules=rules), 5)[-1]
    rates = [float(schedule(step)) for step in range(5)]
    assert found["head/kernel"] == pytest.approx(2 - rates[3] - 1.9 * rates[4])


def test_frozen_gradients_are_no_part_of_the_norm_that_is_clipped():
    rules = (Rule("stem|stage1", frozen=True), Rule("rest"))
    found = walk(make_optimizer("sgd", 1.0, clip_norm=1.0, rules=rules))[-1]
    assert found["head/kernel"] == pytest.approx(2 - 1 / 20**0.5)  # 20 numbers of gradient 1


@pytest.fixture(scope="module")
def trained():
    """{whether statistics are frozen: (state before, state after 3 steps with a frozen stage)}"""
    model = MODELS["cnn"](num_classes=10, filters=(4, 8), convs_per_stage=1)
    found = {}
    for kept in (False, True):
        rules = (Rule("(Conv|BatchNorm)_0", frozen=True, freeze_statistics=kept), Rule("rest"))
        tx = make_optimizer("sgd", 0.1, momentum=0.9, weight_decay=1e-2, rules=rules)
        state = start = create_train_state(model, tx, jax.random.key(0), SHAPE)
        step = jax.jit(make_train_step(model, tx, rules=rules))
        for k in range(3):
            state, _ = step(state, real_batch(32, 32 * k))
        found[kept] = start, state
    return found


@pytest.mark.parametrize("kept", [False, True])
def test_a_frozen_stage_of_a_net_is_bit_identical_after_training(trained, kept):
    before, after = (leaves(state.params) for state in trained[kept])
    same = {name for name in before if (before[name] == after[name]).all()}
    assert same == {name for name in before if "_0']" in name and "Dense" not in name}


@pytest.mark.parametrize("kept", [False, True])
def test_statistics_are_frozen_where_the_rule_says_so(trained, kept):
    before, after = (leaves(state.batch_stats) for state in trained[kept])
    same = {name for name in before if (before[name] == after[name]).all()}
    assert same == {name for name in before if kept and "BatchNorm_0" in name}


def test_a_layer_with_frozen_statistics_normalises_as_in_evaluation():
    """All layers frozen so: the training loss is the one of evaluation."""
    model = MODELS["cnn"](num_classes=10, filters=(4, 8), convs_per_stage=1)
    rules = (Rule("rest", freeze_statistics=True),)
    tx = make_optimizer("sgd", 0.1, rules=rules)
    state = create_train_state(model, tx, jax.random.key(0), SHAPE)
    state = state.replace(batch_stats=jax.tree.map(lambda x: x + 0.3, state.batch_stats))
    batch = real_batch(32)
    _, metrics = jax.jit(make_train_step(model, tx, rules=rules))(state, batch)
    expected = jax.jit(make_eval_step(model))(state, batch)
    assert float(metrics["loss"]) == pytest.approx(float(expected["loss"]), rel=1e-5)


@pytest.mark.parametrize("name", ["cnn", "resnet18"])
def test_stages_of_parameters_are_found_in_order(name):
    keywords = {"filters": (4, 8), "dense": (5,)} if name == "cnn" else {"width": 4}
    model = MODELS[name](num_classes=3, **keywords)
    stages = parameter_stages(model, (32, 32, 3))
    variables = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)
    )
    assert stages.keys() == parameter_paths(variables["params"]).keys()
    order = list(dict.fromkeys(stages.values()))
    numbered = [f"stage{i}" for i in range(1, 3 if name == "cnn" else 5)]
    assert order == (
        [*numbered, "penultimate", "head"] if name == "cnn" else ["stem", *numbered, "head"]
    )
    head = {path for path, stage in stages.items() if stage == "head"}
    last = "Dense_1" if name == "cnn" else "head"
    assert head == {f"{last}/kernel", f"{last}/bias"}


def test_layer_decay_slows_each_stage_below_the_next():
    stages = {"a/kernel": "stem", "b/c/kernel": "stage1", "b/d/kernel": "stage2", "e": "head"}
    rules = layer_decay_rules(stages, 0.5)
    assigned = assign(rules, stages)
    rates = {path: rules[i].learning_rate for path, i in assigned.items()}
    assert rates == {"a/kernel": 0.125, "b/c/kernel": 0.25, "b/d/kernel": 0.5, "e": 1.0}


def test_by_rule_gives_each_parameter_to_one_transformation():
    rules = (Rule("kernel", learning_rate=3.0), Rule("bias", learning_rate=5.0))
    tx = by_rule(rules, lambda rule: optax.scale(rule.learning_rate))
    _, ones = toy()
    updates, _ = tx.update(ones, tx.init(ones), ones)
    scales = {path: float(leaf.ravel()[0]) for path, leaf in parameter_paths(updates).items()}
    np.testing.assert_array_equal([scales[path] for path in PATHS], [3, 3, 5, 3])
