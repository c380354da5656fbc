"""Schedules at their corners; weight decay and clipping on numbers one can check by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest

from jaxcnn.core.models import MODELS
from jaxcnn.core.optim import SCHEDULES, decay_mask, make_optimizer, optimizers
from jaxcnn.core.rules import Rule

PEAK, STEPS = 0.5, 100

# What each schedule gives, as shares of the peak: (first step, end of warm-up, end of the run).
WITH_WARMUP = {
    "constant": (0.0, 1.0, 1.0),
    "cosine": (0.0, 1.0, 0.0),
    "step": (0.0, 1.0, 0.01),
    "triangular": (0.0, 1.0, 0.0),
    "one_cycle": (0.04, 1.0, 4e-6),
}


def rates(name, steps=range(STEPS + 1), **keywords):
    schedule = SCHEDULES[name](PEAK, STEPS, **keywords)
    return np.array([schedule(step) for step in steps]) / PEAK


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_warms_up_to_its_peak_and_ends_where_it_says(name):
    found = rates(name, (0, 20, STEPS), warmup_steps=20)
    np.testing.assert_allclose(found, WITH_WARMUP[name], atol=1e-7)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_rises_to_its_peak_and_then_falls(name):
    found = rates(name, warmup_steps=20)
    assert (np.diff(found[:21]) > 0).all()
    assert (np.diff(found[20:]) <= 1e-7).all()
    assert found.max() == pytest.approx(1.0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_without_warm_up_a_schedule_starts_at_its_peak(name):
    assert rates(name, (0,), warmup_steps=0)[0] == pytest.approx(1.0)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_is_the_same_under_jit(name):
    schedule = SCHEDULES[name](PEAK, STEPS, warmup_steps=20)
    compiled = jax.vmap(schedule)(jnp.arange(STEPS + 1)) / PEAK
    np.testing.assert_allclose(compiled, rates(name, warmup_steps=20), atol=1e-6)


@pytest.mark.parametrize(("name", "share"), [("triangular", 0.2), ("one_cycle", 0.3)])
def test_the_warm_up_these_choose_themselves(name, share):
    assert rates(name).argmax() == share * STEPS


def test_a_linear_warm_up_is_half_way_up_at_half_time():
    for name in ("constant", "cosine", "step", "triangular"):
        assert rates(name, (10,), warmup_steps=20)[0] == pytest.approx(0.5), name


def test_a_cosine_is_half_way_down_at_half_time():
    assert rates("cosine", (60,), warmup_steps=20)[0] == pytest.approx(0.5)


@pytest.mark.parametrize("name", ["cosine", "triangular", "one_cycle"])
def test_final_is_a_share_of_the_peak(name):
    assert rates(name, (STEPS,), final=0.1)[0] == pytest.approx(0.1)


def test_one_cycle_begins_at_initial():
    assert rates("one_cycle", (0,), initial=0.2)[0] == pytest.approx(0.2)


def test_a_triangle_begins_and_rises_as_it_is_told():
    """The schedule of Jordan 2024: 0.2 of the peak, up for 23 % of the run, 0.07 at the end."""
    found = rates("triangular", rise=0.23, initial=0.2, final=0.07)
    rise, fall = np.arange(23) / 23, np.arange(78) / 77
    expected = [*(0.2 * (1 - rise) + rise), *(1 - fall + 0.07 * fall)]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("warmup_steps", [0, 10])
def test_step_drops_at_shares_of_the_whole_run(warmup_steps):
    keywords = {"boundaries": (0.3, 0.6), "factor": 0.5, "warmup_steps": warmup_steps}
    found = rates("step", (29, 30, 59, 60, STEPS), **keywords)
    np.testing.assert_allclose(found, [1, 0.5, 0.5, 0.25, 0.25])


def toy():
    """One layer's parameters, all 2, and gradients, all 1."""
    params = {
        "conv": {"kernel": jnp.full((3, 3, 2, 4), 2.0), "bias": jnp.full(4, 2.0)},
        "norm": {"scale": jnp.full(4, 2.0), "bias": jnp.full(4, 2.0)},
    }
    return params, jax.tree.map(jnp.ones_like, params)


def train(tx, params, *gradients):
    state = tx.init(params)
    for gradient in gradients:
        updates, state = tx.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


def assert_all(tree, kernel, others):
    expected = {
        "conv": {"kernel": jnp.full((3, 3, 2, 4), kernel), "bias": jnp.full(4, others)},
        "norm": {"scale": jnp.full(4, others), "bias": jnp.full(4, others)},
    }
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), tree, expected)


def test_kernels_decay_and_biases_and_norm_scales_do_not():
    model = MODELS["cnn"](num_classes=3, filters=(4,), norm="batch", dense=(5,))
    image = jnp.zeros((1, 8, 8, 1))
    params = jax.eval_shape(lambda: model.init(jax.random.key(0), image, train=False))["params"]
    flat, _ = jax.tree.flatten_with_path(decay_mask(params))
    kinds = {(path[-1].key, decays) for path, decays in flat}
    assert kinds == {("kernel", True), ("bias", False), ("scale", False)}


def test_sgd_adds_the_decay_to_the_gradient():
    params, ones = toy()
    tx = make_optimizer("sgd", 0.1, weight_decay=0.5)
    # kernel: 2 - 0.1 * (1 + 0.5 * 2); others: 2 - 0.1 * 1
    assert_all(train(tx, params, ones), kernel=1.8, others=1.9)


def test_the_decay_of_sgd_goes_through_its_momentum():
    params, ones = toy()
    tx = make_optimizer("sgd", 0.1, weight_decay=0.5, momentum=0.9)
    # kernel: momentum 2, then 0.9 * 2 + 1 + 0.5 * 1.8 = 3.7; others: 1, then 1.9
    assert_all(train(tx, params, ones, ones), kernel=1.8 - 0.37, others=1.9 - 0.19)


def test_the_decay_of_adam_is_scaled_like_a_gradient_and_that_of_adamw_is_not():
    params, ones = toy()
    zeros = jax.tree.map(jnp.zeros_like, ones)
    adam = make_optimizer("adam", 0.1, weight_decay=0.5)
    assert_all(train(adam, params, zeros), kernel=2 - 0.1, others=2.0)  # lr * sign(0.5 * 2)
    adamw = make_optimizer("adamw", 0.1, weight_decay=0.5)
    assert_all(train(adamw, params, zeros), kernel=2 - 0.1 * 0.5 * 2, others=2.0)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lamb", "lars", "lion", "rmsprop"])
def test_every_optimizer_decays_kernels_alone(name):
    params, ones = toy()
    zeros = jax.tree.map(jnp.zeros_like, ones)
    decayed = train(make_optimizer(name, 0.1, weight_decay=0.5), params, zeros)
    assert (decayed["conv"]["kernel"] < 2).all()
    assert_all(
        {**decayed, "conv": {**decayed["conv"], "kernel": jnp.full((3, 3, 2, 4), 2.0)}}, 2, 2
    )
    # adamw's and lion's own default is not zero
    assert_all(train(make_optimizer(name, 0.1), params, zeros), kernel=2.0, others=2.0)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lamb", "lars", "lion", "muon"])
def test_biases_and_norms_decay_where_that_is_asked_for(name):
    params, ones = toy()
    zeros = jax.tree.map(jnp.zeros_like, ones)
    tx = make_optimizer(name, 0.1, weight_decay=0.5, decay_biases=True)
    for leaf in jax.tree.leaves(train(tx, params, zeros)):
        assert (leaf < 2).all()


def test_biases_that_learn_faster_may_decay_alike():
    """As in Jordan 2024, by hand: the rate times 64, the decay divided by it."""
    params, ones = toy()
    rules = (Rule("norm", learning_rate=64.0, weight_decay=1 / 64), Rule("rest"))
    tx = make_optimizer("sgd", 0.1, weight_decay=0.5, decay_biases=True, rules=rules)
    walked = train(tx, params, ones)
    for leaf in jax.tree.leaves(walked["conv"]):
        np.testing.assert_allclose(leaf, 2 - 0.1 * 1 - 0.1 * 0.5 * 2, rtol=1e-5)
    for leaf in jax.tree.leaves(walked["norm"]):
        np.testing.assert_allclose(leaf, 2 - 64 * 0.1 * 1 - 0.1 * 0.5 * 2, rtol=1e-5)


@pytest.mark.parametrize(("clip_norm", "scale"), [(1.0, 0.2), (5.0, 1.0), (50.0, 1.0), (None, 1.0)])
def test_gradients_are_clipped_to_the_norm_of_all_together(clip_norm, scale):
    params = {"a": jnp.zeros(1), "b": jnp.zeros((1, 1))}
    gradient = {"a": jnp.full(1, 3.0), "b": jnp.full((1, 1), 4.0)}  # norm 5
    clipped = train(make_optimizer("sgd", 1.0, clip_norm=clip_norm), params, gradient)
    assert clipped["a"][0] == pytest.approx(-3 * scale)
    assert clipped["b"][0, 0] == pytest.approx(-4 * scale)


def test_clipping_comes_before_decay():
    tx = make_optimizer("sgd", 1.0, clip_norm=1.0, weight_decay=0.5)
    kernel = train(tx, {"w": jnp.full((1, 1), 2.0)}, {"w": jnp.full((1, 1), 10.0)})["w"]
    assert kernel[0, 0] == pytest.approx(2 - (1 + 0.5 * 2))


def test_the_optimizer_follows_its_schedule():
    schedule = SCHEDULES["triangular"](PEAK, 10)
    params, gradient = {"w": jnp.zeros(1)}, {"w": jnp.ones(1)}
    walked = train(make_optimizer("sgd", schedule), params, *[gradient] * 10)["w"][0]
    assert walked == pytest.approx(-sum(float(schedule(step)) for step in range(10)))


def test_the_optimizers_are_optax_own():
    assert {"sgd", "adam", "adamw", "lamb", "lars", "lion", "rmsprop"} <= optimizers().keys()
    for name, function in optimizers().items():
        own = getattr(optax, name, None) or getattr(optax.contrib, name)
        assert getattr(function, "func", function) is getattr(own, "func", own)


@pytest.mark.parametrize("name", optimizers())
def test_every_optimizer_there_is_follows_a_schedule_downhill(name):
    params, ones = toy()
    tx = make_optimizer(name, SCHEDULES["constant"](0.01, 10), weight_decay=0.1)
    walked = train(tx, params, ones, ones)
    below = jax.tree.map(lambda new, old: bool((new < old).all()), walked, params)
    assert all(jax.tree.leaves(below))


def test_muon_makes_the_update_of_a_convolution_an_orthogonal_matrix():
    """Its 18 inputs (HWI) by 4 outputs: singular values near 1, scaled by 0.2 sqrt(18)."""
    random = np.random.default_rng(0)
    gradient = {"kernel": jnp.asarray(random.normal(size=(3, 3, 2, 4)), jnp.float32)}
    params = jax.tree.map(jnp.zeros_like, gradient)
    update = train(make_optimizer("muon", 1.0), params, gradient)["kernel"].reshape(18, 4)
    singular = np.linalg.svd(update, compute_uv=False) / (0.2 * 18**0.5)
    assert ((singular > 0.6) & (singular < 1.3)).all()
    assert np.ptp(np.linalg.svd(gradient["kernel"].reshape(18, 4), compute_uv=False)) > 1


def test_lars_trusts_the_norms_of_kernels_alone():
    params, ones = toy()
    walked = train(make_optimizer("lars", 0.1, momentum=0.0), params, ones)
    # Its ratio for a kernel is 0.001 * |2| / |1|; a bias takes the plain step.
    assert_all(walked, kernel=2 - 0.1 * 0.002, others=1.9)


def test_values_are_clipped_one_by_one():
    params, gradient = {"a": jnp.zeros(3)}, {"a": jnp.array([-7.0, 0.5, 3.0])}
    clipped = train(make_optimizer("sgd", 1.0, clip_value=1.0), params, gradient)["a"]
    np.testing.assert_allclose(clipped, [1.0, -0.5, -1.0])


def test_adaptive_clipping_bounds_a_unit_by_its_weights_and_spares_the_head():
    params = {"conv": {"kernel": jnp.full((1, 1, 4, 2), 3.0)}, "head": {"kernel": jnp.ones((4, 2))}}
    gradient = jax.tree.map(lambda leaf: jnp.full_like(leaf, 5.0), params)
    tx = make_optimizer("sgd", 1.0, clip_adaptive=0.1, head={"head/kernel"})
    moved = jax.tree.map(lambda new, old: old - new, train(tx, params, gradient), params)
    # A unit of the convolution: 4 weights of 3, norm 6; its gradient's norm becomes 0.6.
    np.testing.assert_allclose(moved["conv"]["kernel"], 0.3, rtol=1e-5)
    np.testing.assert_allclose(moved["head"]["kernel"], 5.0)


def test_lookahead_goes_half_of_the_way_every_so_many_updates():
    params, gradient = {"w": jnp.zeros(1)}, {"w": jnp.ones(1)}
    tx = make_optimizer("sgd", 1.0, lookahead_steps=3, lookahead_share=0.5)
    path = [float(train(tx, params, *[gradient] * steps)["w"][0]) for steps in range(1, 8)]
    assert path == [-1, -2, -1.5, -2.5, -3.5, -3, -4]


def test_accumulated_gradients_make_one_update_of_their_mean_at_the_rate_of_their_first_step():
    schedule = SCHEDULES["triangular"](1.0, 12, warmup_steps=0)
    params, gradients = {"w": jnp.zeros(1)}, [{"w": jnp.full(1, float(k))} for k in range(7)]
    tx = make_optimizer("sgd", schedule, accumulate=3)
    walked = [float(train(tx, params, *gradients[:k])["w"][0]) for k in (2, 3, 5, 6)]
    first, second = float(schedule(0)) * 1, float(schedule(3)) * 4
    assert walked == pytest.approx([0, -first, -first, -first - second])
