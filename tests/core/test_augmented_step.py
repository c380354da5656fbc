"""What a step makes of augmentations that need more than pixels."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import AUGMENTATIONS, create_train_state, cross_entropy, make_train_step
from tests.steps import SHAPE, real_batch


class Linear(nn.Module):
    """As little as a step can train: these steps run without `jit`, operation by operation."""

    @nn.compact
    def __call__(self, image, *, train):
        return nn.Dense(10)(image.reshape(len(image), -1))


def run(augment, batch, step=0, seed=0, loss_fn=cross_entropy):
    """(metrics, what the loss saw) of update `step`."""
    seen = []

    def loss(logits, label):
        seen.append(label)
        return loss_fn(logits, label)

    model, tx = Linear(), optax.sgd(0.1)
    state = create_train_state(model, tx, jax.random.key(seed), SHAPE)
    state = state.replace(step=jnp.int32(step))
    train_step = make_train_step(model, tx, augment=augment, loss_fn=loss)
    _, metrics = train_step(state, batch)
    return metrics, seen[0]


def shown(batch, step=0, seed=0):
    """What an alternating flip shows the model at a step."""
    images = []

    def spy(keys, batch):
        batch = AUGMENTATIONS["alternating_flip"](keys, batch)
        images.append(np.asarray(batch["image"]))
        return batch

    run(spy, batch, step, seed)
    return images[0]


def test_an_alternating_flip_depends_on_run_example_and_epoch_but_not_on_the_step():
    batch = real_batch(32)
    first = shown(batch)
    np.testing.assert_array_equal(shown(batch, step=7), first)
    np.testing.assert_array_equal(shown(batch | {"epoch": np.zeros(32, np.int32)}), first)
    second = shown(batch | {"epoch": np.ones(32, np.int32)}, step=7)
    np.testing.assert_array_equal(second, first[:, :, ::-1])
    assert (shown(batch, seed=1) != first).any()
    assert (shown(batch | {"index": batch["index"] + 100}) != first).any()


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_mixed_examples_are_counted_by_their_larger_label(name):
    metrics, label = run(partial(AUGMENTATIONS[name], num_classes=10), real_batch(32))
    assert label.shape == (32, 10) and label.dtype == jnp.float32
    assert metrics["count"] == 32 and 0 <= metrics["correct"] <= 32
    assert np.isfinite(metrics["loss"])


def test_a_loss_for_hard_labels_sees_hard_labels():
    """As the README's focal loss does."""
    hard = optax.softmax_cross_entropy_with_integer_labels
    metrics, label = run(AUGMENTATIONS["flip"], real_batch(32), loss_fn=hard)
    assert label.shape == (32,) and np.isfinite(metrics["loss"])
