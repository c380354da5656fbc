"""Promise 3, where parameters and optimiser state are split over devices as well."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from jaxcnn import MODELS, create_train_state, make_optimizer, make_train_step
from jaxcnn.builders.auto import prepare
from jaxcnn.errors import UserError
from jaxcnn.runtime.mesh import SMALL, fsdp_parallel, jit_parallel, spec_of
from jaxcnn.training.loop import Training
from jaxcnn.training.train import train
from tests.configs import message_of
from tests.conftest import small_digits
from tests.steps import AUGMENT, SHAPE, leaves, real_batch

MODEL = MODELS["cnn"](num_classes=10, filters=(32, 64), convs_per_stage=1)
TX = make_optimizer("sgd", 0.05, momentum=0.9)


def parallel_of(fsdp):
    return fsdp_parallel(jax.devices(), fsdp) if fsdp else jit_parallel(jax.devices()[:1])


def fresh(dtype=jnp.float32):
    state = create_train_state(MODEL, TX, jax.random.key(0), SHAPE)
    params, stats = jax.tree.map(lambda leaf: leaf.astype(dtype), (state.params, state.batch_stats))
    return state.replace(params=params, batch_stats=stats, opt_state=TX.init(params))


def run_on(fsdp, steps, dtype=jnp.float32):
    """(last state, where it lies; losses). fsdp: 0 for one device."""
    parallel = parallel_of(fsdp)
    model = MODEL.clone(dtype=dtype)
    step = parallel.transform(make_train_step(model, TX, augment=AUGMENT), donate=True)
    state, losses = parallel.place_states([fresh(dtype)]), []
    for k in range(steps):
        state, metrics = step(state, parallel.place_batch(real_batch(32, 20 * k)))
        losses.append(float(metrics["loss"]))
    return state, np.array(losses)


@pytest.mark.parametrize("fsdp", [2, 8])
def test_one_step_agrees_to_five_digits(fsdp):
    (one, one_loss), (many, many_loss) = run_on(0, 1), run_on(fsdp, 1)
    np.testing.assert_allclose(many_loss, one_loss, rtol=1e-5)
    for a, b in zip(*(jax.tree.leaves(s.opt_state) for s in (one, many)), strict=True):
        scale = np.abs(np.asarray(a)).max()  # momentum after one step: the gradient
        np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5 * scale)
    for name, leaf in leaves(many.batch_stats).items():
        np.testing.assert_allclose(leaf, leaves(one.batch_stats)[name], rtol=1e-5, atol=1e-7)


def test_fifty_steps_in_float64_agree_to_nine_digits():
    with jax.enable_x64(True):
        (_, one), (_, many) = (run_on(fsdp, 50, np.float64) for fsdp in (0, 4))
    assert one[-1] < 0.8 * one[0]
    np.testing.assert_allclose(many, one, rtol=1e-9)


@pytest.mark.parametrize("fsdp", [2, 8])
def test_a_device_holds_its_part_of_parameters_and_moments_also_after_a_step(fsdp):
    def held(tree):
        """Bytes on the first device."""
        return sum(
            shard.data.nbytes
            for leaf in jax.tree.leaves(tree)
            for shard in leaf.addressable_shards
            if shard.device == jax.devices()[0]
        )

    state, _ = run_on(fsdp, 2)
    for tree in (state.params, state.opt_state):
        split = [leaf.nbytes for leaf in jax.tree.leaves(tree) if leaf.size >= SMALL]
        small = [leaf.nbytes for leaf in jax.tree.leaves(tree) if leaf.size < SMALL]
        assert held(tree) == sum(split) / fsdp + sum(small) and sum(split) > 10 * sum(small)
    assert state.params["Conv_1"]["kernel"].sharding.spec == P(None, None, None, "fsdp")


@pytest.mark.parametrize(
    ("shape", "spec"),
    [
        ((3, 3, 64, 128), P(None, None, None, "fsdp")),
        ((3, 3, 128, 64), P(None, None, "fsdp", None)),
        ((3, 3, 64, 64), P(None, None, None, "fsdp")),
        ((2048, 1001), P("fsdp", None)),
        ((64, 64), P(None, "fsdp")),
        ((3, 3, 64, 4), P()),  # small
        ((1001, 999), P()),  # not divisible
        ((), P()),
    ],
)
def test_the_rule_splits_the_longest_axis_that_it_can(shape, spec):
    assert spec_of(shape, 4) == spec


def test_a_run_is_stopped_on_one_mesh_and_goes_on_on_another(cache_dir, tmp_path):
    """Sharded over 4, then not at all; against one that was neither stopped nor sharded."""
    config = small_digits(cache_dir)
    config.model.filters = (32, 64)
    config.num_epochs, config.num_steps = None, 8
    config.checkpoint_every_steps = 4
    config.eval_every_steps = 4
    metrics = train(config, tmp_path / "plain")

    def losses(name):
        lines = map(json.loads, (tmp_path / name / "metrics.jsonl").read_text().splitlines())
        return {line["step"]: line["loss"] for line in lines if line["split"] == "validation"}

    config.parallel.fsdp = 4
    workdir = tmp_path / "sharded"
    workdir.mkdir()
    with Training([prepare(config, workdir=workdir)], [workdir]) as training:
        next(iter(training))  # to the first checkpoint
    config.parallel.fsdp = 1
    assert train(config, tmp_path / "sharded")["loss"] == pytest.approx(metrics["loss"], rel=1e-3)
    sharded, plain = losses("sharded"), losses("plain")
    assert sharded.keys() == plain.keys() == {4, 8}
    assert [sharded[k] for k in plain] == pytest.approx(list(plain.values()), rel=1e-3)


@pytest.mark.slow
def test_a_sharded_run_has_histograms_and_a_report(cache_dir, tmp_path):
    config = small_digits(cache_dir)
    config.model.filters = (32, 64)
    config.num_epochs, config.num_steps = None, 3
    config.parallel.fsdp = 8
    config.report.at_end = True
    config.report.histograms = True
    config.report.resamples = 100
    train(config, tmp_path)
    assert (tmp_path / "report/report.html").is_file()


def test_what_does_not_divide_is_told():
    with pytest.raises(UserError, match="does not divide the 8 devices; 1, 2, 4, 8 would do"):
        parallel_of(3)
    message = message_of(parallel__fsdp=2, parallel__mode="pmap")
    assert "config.parallel.fsdp=2: expected 1 with config.parallel.mode='pmap'" in message
