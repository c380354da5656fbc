"""jaxcnn: its train step, and its own loop as `jaxcnn train` runs it."""

from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from peers.flax_tf_data import filled
from peers.task import LEARNING_RATE, MOMENTUM, NUM_CLASSES, PADDING, WEIGHT_DECAY, Task, weights

from jaxcnn import MODELS, create_train_state, make_optimizer, make_train_step
from jaxcnn.config.keys import default_config, resolve
from jaxcnn.runtime.compile import compile_step, formulations
from jaxcnn.training.loop import Training

MODEL = {"cnn": {"filters": (48, 96, 192), "pool_first": True}, "resnet20_cifar": {}}


def make_config(task: Task):
    config = default_config()
    config.data.source, config.data.dir = "arrays", str(task.folder)
    config.data.holdout = config.data.test_holdout = 0.0
    config.data.mean, config.data.std = (0.0,) * 3, (1.0,) * 3
    config.augment = (("crop", PADDING), "flip")
    config.batch_size, config.dtype = task.batch_size, task.dtype
    config.model.name = task.network
    config.model.update(MODEL[task.network])
    config.optimizer.name, config.schedule.name = "sgd", "constant"
    config.optimizer.learning_rate, config.optimizer.weight_decay = LEARNING_RATE, WEIGHT_DECAY
    config.optimizer.momentum, config.optimizer.nesterov = MOMENTUM, True
    config.num_steps = 1_000_000
    config.log_every_steps = config.eval_every_steps = task.steps
    config.checkpoint_every_steps = config.num_steps
    return resolve(config)


def build(task: Task) -> dict[str, Callable]:
    model = MODELS[task.network](
        num_classes=NUM_CLASSES, dtype=jnp.dtype(task.dtype), **MODEL[task.network]
    )
    tx = make_optimizer(
        "sgd", LEARNING_RATE, momentum=MOMENTUM, nesterov=True, weight_decay=WEIGHT_DECAY
    )
    variables = model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=True)
    variables["params"] = filled(variables["params"], weights(task.network))
    state = create_train_state(model, tx, jax.random.key(0), (32, 32, 3), variables)
    image, label = task.batch()
    batch = {"image": image, "label": label, "mask": np.ones(len(label), bool)}
    batch = jax.device_put(batch | {"index": np.arange(len(label), dtype=np.int32)})
    train_step = make_train_step(
        model, tx, interceptor=formulations(jax.default_backend(), jax.device_count())
    )
    train_step = compile_step(jax.jit(train_step, donate_argnums=0), state, batch)
    training = None

    def check():
        nonlocal state
        logits, _ = model.apply(variables, image / 255, train=True, mutable=["batch_stats"])
        parameters, losses = sum(x.size for x in jax.tree.leaves(state.params)), []
        for _ in range(3):
            state, metrics = train_step(state, batch)
            losses.append(float(metrics["loss"] / metrics["count"]))
        return {
            "parameters": parameters,
            "logits": np.asarray(logits),
            "losses": losses,
            "platform": jax.default_backend(),
        }

    def step(n):
        nonlocal state
        for _ in range(n):
            state, metrics = train_step(state, batch)
        jax.block_until_ready((state, metrics))

    def loop():
        nonlocal training
        if training is None:
            training = iter(Training([make_config(task)], [Path(task.folder, "run")]).__enter__())
        next(training)

    return {"check": check, "step": step, "loop": loop}
