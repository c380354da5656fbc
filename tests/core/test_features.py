"""Every model gives its stages' outputs by name, without changing what it is without them."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import create_train_state, make_eval_step, make_predict_step, make_train_step
from tests.core.test_models import IMAGE, SHORT, build, shapes, some_variables
from tests.steps import real_batch

every_model = pytest.mark.parametrize("name", SHORT)


def outputs(model, variables, image=IMAGE):
    return jax.jit(partial(model.apply, train=False, features=True))(variables, image)


@every_model
def test_stages_come_in_their_order_and_have_the_promised_shapes(name):
    model = build(name)
    logits, stages = outputs(model, some_variables(model))
    names = [stage for stage in stages if stage != "stem"]
    assert list(stages) in (names, ["stem", *names])
    assert names == [f"stage{n}" for n in range(1, len(names))] + ["penultimate"]
    assert [stages[stage].ndim for stage in names] == [4] * (len(names) - 1) + [2]
    assert {len(x) for x in stages.values()} == {len(IMAGE)} == {len(logits)}
    sides = [x.shape[1] for x in stages.values() if x.ndim == 4]
    assert sides == sorted(sides, reverse=True)


@every_model
def test_features_change_neither_logits_nor_variables_nor_the_computation(name):
    model = build(name)
    variables = some_variables(model)
    assert set(variables) <= {"params", "batch_stats"}, "init would keep perturbations"
    plain = partial(model.apply, train=False)
    logits, _ = outputs(model, variables)
    np.testing.assert_array_equal(logits, jax.jit(plain)(variables, IMAGE))
    with_features = jax.make_jaxpr(partial(plain, features=True))(variables, IMAGE)
    assert len(with_features.eqns) == len(jax.make_jaxpr(plain)(variables, IMAGE).eqns)


@every_model
def test_logits_are_one_dense_layer_of_the_penultimate_features(name):
    model = build(name)
    variables = some_variables(model)
    logits, stages = outputs(model, variables)

    def logits_of(penultimate):
        zeros = jax.tree.map(jnp.zeros_like, stages)
        added = {**zeros, "penultimate": penultimate}
        return model.apply({**variables, "perturbations": added}, IMAGE, train=False)

    slopes = jax.jit(jax.jacobian(logits_of))(jnp.zeros_like(stages["penultimate"]))
    own = slopes[np.arange(4), :, np.arange(4)]  # of each image's logits by its own features
    np.testing.assert_allclose(own[0], own[1])
    bias = logits - jnp.einsum("bkd,bd->bk", own, stages["penultimate"])
    np.testing.assert_allclose(bias, np.tile(bias[:1], (4, 1)), atol=1e-5)


@every_model
def test_a_gradient_can_be_taken_by_every_stage(name):
    model = build(name)
    variables = some_variables(model)
    _, stages = outputs(model, variables)

    def total(added):
        logits = model.apply({**variables, "perturbations": added}, IMAGE, train=False)
        return (logits**2).sum()

    gradients = jax.jit(jax.grad(total))(jax.tree.map(jnp.zeros_like, stages))
    for stage, x in stages.items():
        assert gradients[stage].shape == x.shape
        assert (gradients[stage] != 0).any(), stage


def test_a_cnn_keeps_what_its_stages_gave_before_pooling():
    image = jax.ShapeDtypeStruct((2, 16, 16, 3), jnp.float32)
    for keywords, sides in (({}, [16, 8]), ({"pool_first": True}, [8, 4])):
        model = build(filters=(4, 5), **keywords)
        apply = partial(model.apply, train=False, features=True)
        _, stages = jax.eval_shape(apply, shapes(model, 16), image)
        assert [x.shape[1] for x in stages.values() if x.ndim == 4] == sides


def test_penultimate_features_have_no_dropout_at_evaluation():
    model = build(dropout=0.5, dense=(7,))
    _, stages = outputs(model, some_variables(model))
    _, plain = outputs(build(dense=(7,)), some_variables(model))
    np.testing.assert_array_equal(stages["penultimate"], plain["penultimate"])


class Own(nn.Module):
    """A user's network, which knows of no features."""

    @nn.compact
    def __call__(self, image, *, train):
        x = nn.relu(nn.Conv(4, (3, 3))(image))
        return nn.Dense(10)(x.mean((1, 2)))


def test_a_module_without_features_trains_evaluates_and_predicts():
    model, tx, batch = Own(), optax.sgd(0.5), real_batch(16)
    state = create_train_state(model, tx, jax.random.key(0), (8, 8, 1))
    after, metrics = jax.jit(make_train_step(model, tx))(state, batch)
    sums = jax.jit(make_eval_step(model))(after, batch)
    assert 0 < sums["loss"] < metrics["loss"]
    logits = jax.jit(make_predict_step(model))(after, batch)["logits"]
    counts = np.bincount(batch["label"][logits.argmax(-1) == batch["label"]], minlength=10)
    np.testing.assert_array_equal(np.diag(sums["confusion"]), counts)
