"""Accumulated gradients are those of the large batch; BatchNorm sees the small ones."""

import jax
import numpy as np
import pytest

from jaxcnn import MODELS, create_train_state, make_optimizer, make_train_step
from jaxcnn.core.optim import SCHEDULES
from tests.steps import SHAPE, leaves, real_batch


def trained(norm, accumulate):
    """The state after 64 examples, twice: as two batches of 64, or as eight of 16."""
    model = MODELS["cnn"](num_classes=10, filters=(4,), convs_per_stage=1, norm=norm)
    steps, size = 2 * accumulate, 64 // accumulate
    schedule = SCHEDULES["cosine"](0.1, steps)
    tx = make_optimizer(
        "sgd", schedule, momentum=0.9, weight_decay=1e-2, clip_norm=0.1, accumulate=accumulate
    )
    state = create_train_state(model, tx, jax.random.key(0), SHAPE)
    step = jax.jit(make_train_step(model, tx))
    for k in range(steps):
        state, _ = step(state, real_batch(size, size * k))
    return state


def test_without_batch_statistics_they_equal_the_large_batch():
    """Through clipping, decay, momentum and the schedule."""
    small, large = (leaves(trained("layer", k).params) for k in (4, 1))
    for name, leaf in small.items():
        np.testing.assert_allclose(leaf, large[name], rtol=1e-4, atol=1e-6, err_msg=name)


def test_batch_norm_normalises_and_counts_the_small_batches():
    small, large = trained("batch", 4), trained("batch", 1)
    assert not np.allclose(leaves(small.params)["['Conv_0']['kernel']"],
                           leaves(large.params)["['Conv_0']['kernel']"], rtol=1e-4)  # fmt: skip
    # Its running statistics move at each of 8 steps, not at the 2 updates: 0.9**8 of 1 is left.
    var = leaves(small.batch_stats)["['BatchNorm_0']['var']"]
    assert (var > 0.9**8).all()
    assert var.mean() == pytest.approx(leaves(large.batch_stats)["['BatchNorm_0']['var']"].mean(),
                                       rel=0.7)  # fmt: skip
