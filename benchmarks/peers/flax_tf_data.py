"""Plain Flax fed by tf.data, in the way of the Flax examples."""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.training.train_state import TrainState
from peers.task import LEARNING_RATE, MOMENTUM, NUM_CLASSES, WEIGHT_DECAY, WIDTHS, Task, weights


class CNN(nn.Module):
    dtype: Any

    @nn.compact
    def __call__(self, x, train):
        norm = partial(nn.BatchNorm, not train, momentum=0.9, dtype=self.dtype)
        conv = partial(nn.Conv, kernel_size=(3, 3), use_bias=False, dtype=self.dtype)
        for width in WIDTHS["cnn"]:
            x = nn.max_pool(conv(width)(x), (2, 2), strides=(2, 2))
            x = nn.relu(norm()(x))
            x = nn.relu(norm()(conv(width)(x)))
        return nn.Dense(NUM_CLASSES)(x.mean((1, 2)))


class ResNet20(nn.Module):
    dtype: Any

    @nn.compact
    def __call__(self, x, train):
        norm = partial(nn.BatchNorm, not train, momentum=0.9, dtype=self.dtype)
        conv = partial(nn.Conv, kernel_size=(3, 3), padding=1, use_bias=False, dtype=self.dtype)
        x = nn.relu(norm()(conv(WIDTHS["resnet20_cifar"][0])(x)))
        for width in WIDTHS["resnet20_cifar"]:
            for _ in range(3):
                added = width - x.shape[-1]
                stride = 2 if added else 1
                y = nn.relu(norm()(conv(width, strides=stride)(x)))
                y = norm()(conv(width)(y))
                x = x[:, ::stride, ::stride]
                x = nn.relu(y + jnp.pad(x, ((0, 0), (0, 0), (0, 0), (added // 2, added // 2))))
        return nn.Dense(NUM_CLASSES)(x.mean((1, 2)))


class State(TrainState):
    batch_stats: Any


@partial(jax.jit, donate_argnums=0)
def train_step(state, image, label):
    def loss_fn(params):
        logits, updates = state.apply_fn(
            {"params": params, "batch_stats": state.batch_stats},
            image.astype(jnp.float32) / 255,
            train=True,
            mutable=["batch_stats"],
        )
        loss = optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()
        return loss, (logits, updates["batch_stats"])

    (loss, (logits, batch_stats)), grads = jax.value_and_grad(loss_fn, has_aux=True)(state.params)
    state = state.apply_gradients(grads=grads, batch_stats=batch_stats)
    return state, {"loss": loss, "accuracy": (logits.argmax(-1) == label).mean()}


def make_state(task: Task) -> State:
    model = {"cnn": CNN, "resnet20_cifar": ResNet20}[task.network](jnp.dtype(task.dtype))
    variables = model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=True)
    tx = optax.chain(
        optax.add_decayed_weights(WEIGHT_DECAY, lambda p: jax.tree.map(lambda x: x.ndim > 1, p)),
        optax.sgd(LEARNING_RATE, MOMENTUM, nesterov=True),
    )
    return State.create(
        apply_fn=model.apply,
        params=filled(variables["params"], weights(task.network)),
        batch_stats=variables["batch_stats"],
        tx=tx,
    )


def filled(params: dict[str, Any], given: list[np.ndarray]) -> dict[str, Any]:
    """Params with other values: those given, in the order in which the layers were made."""
    values = iter(given)

    def fill(tree: Any) -> Any:
        if isinstance(tree, dict):
            # A layer's kernel or scale comes before its bias.
            return {key: fill(tree[key]) for key in tree}
        value = next(values)
        assert value.shape == tree.shape, (value.shape, tree.shape)
        return jnp.asarray(value)

    params = fill(params)
    assert next(values, None) is None
    return params


def build(task: Task) -> dict[str, Callable]:
    state = make_state(task)
    image, label = (jnp.asarray(x) for x in task.batch())
    batches = None

    def check():
        nonlocal state
        variables = {"params": state.params, "batch_stats": state.batch_stats}
        logits, _ = state.apply_fn(variables, image / 255, train=True, mutable=["batch_stats"])
        parameters = sum(x.size for x in jax.tree.leaves(state.params))
        losses = []
        for _ in range(3):
            state, metrics = train_step(state, image, label)
            losses.append(float(metrics["loss"]))
        return {
            "parameters": parameters,
            "logits": np.asarray(logits),
            "losses": losses,
            "platform": jax.default_backend(),
        }

    def step(n):
        nonlocal state
        for _ in range(n):
            state, metrics = train_step(state, image, label)
        jax.block_until_ready((state, metrics))

    def loop():
        nonlocal state, batches
        if batches is None:
            from peers.tf_data import train_data

            batches = train_data(task).as_numpy_iterator()
        found = []
        for _ in range(task.steps):
            state, metrics = train_step(state, *next(batches))
            found.append(metrics)
        found = jax.device_get(found)
        return {name: float(np.mean([m[name] for m in found])) for name in found[0]}

    return {"check": check, "step": step, "loop": loop}
