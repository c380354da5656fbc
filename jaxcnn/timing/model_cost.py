"""What one model costs on the devices at hand: parameters, arithmetic, memory, time."""

import math
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.core.models import IMAGE_SIZES, MODELS
from jaxcnn.core.optim import make_optimizer
from jaxcnn.core.state import TrainState, create_train_state
from jaxcnn.core.step import make_predict_step, make_train_step
from jaxcnn.runtime.compile import compile_step, formulations
from jaxcnn.runtime.memory import out_of_memory, seconds_a_call, seconds_a_step, step_flops

HEADINGS = """\
                               million   GFLOPs      MB  images/s   images/s compiling
model                pixels parameters an image an image training evaluation         s"""


class ModelCost(NamedTuple):
    """What a model costs.

    flops: of one image forward. memory: bytes a training step keeps for each image. training,
    evaluation: images a second. compiling: seconds, of the training step.
    error: why a model was not measured; the numbers that are not known are None.
    """

    name: str
    image_size: int
    parameters: int | None = None
    flops: float | None = None
    memory: float | None = None
    training: float | None = None
    evaluation: float | None = None
    compiling: float | None = None
    error: str | None = None

    def __str__(self) -> str:
        """A line below `HEADINGS`."""
        start = (
            f"{self.name:19} {self.image_size:7} {_shown(self.parameters, 1e6, 2):>10} "
            f"{_shown(self.flops, 1e9, 3):>8}"
        )
        if self.error is not None:
            return f"{start} {self.error}"
        return (
            f"{start} {_shown(self.memory, 1e6, 1):>8}{self.training:9.1f} {self.evaluation:10.1f} "
            f"{self.compiling:9.1f}"
        )


def _shown(number: float | None, unit: float, digits: int) -> str:
    return "?" if number is None else f"{number / unit:.{digits}f}"


def measure_model(
    name: str,
    batch_size: int,
    image_size: int | None = None,
    dtype: str = "float32",
    seconds: float = 2.0,
) -> ModelCost:
    """Measures a model of MODELS on colour images, with 1,000 classes or, of small images, 10.

    image_size: None is what the model was made for. seconds: how long each step is timed.
    """
    size = image_size or IMAGE_SIZES.get(name, 224)
    model = MODELS[name](num_classes=1000 if size > 64 else 10, dtype=jnp.dtype(dtype))
    tx = make_optimizer("sgd", 0.01, momentum=0.9)
    create = partial(create_train_state, model, tx, jax.random.key(0), (size, size, 3))
    try:
        shapes = jax.eval_shape(create)
    except ValueError as error:
        return ModelCost(name, size, error=f"cannot take images of {size} pixels: {error}")
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes.params))
    # Before XLA changes the program.
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    flops = step_flops(jax.jit(partial(model.apply, train=False)).lower(shapes.variables, image))
    cost = ModelCost(name, size, parameters, flops)
    through = partial(formulations, jax.default_backend(), jax.device_count())
    train_step = make_train_step(model, tx, interceptor=through())
    predict_step = make_predict_step(model, interceptor=through(training=False))
    try:
        return _timed(cost, jax.jit(create)(), train_step, predict_step, batch_size, seconds)
    except Exception as error:
        if not out_of_memory(error):
            raise
        return cost._replace(error=f"out of memory with --batch-size={batch_size}")


def _timed(
    cost: ModelCost,
    state: TrainState,
    train_step: Callable[..., Any],
    predict_step: Callable[..., Any],
    batch_size: int,
    seconds: float,
) -> ModelCost:
    random = np.random.default_rng(0)
    shape = (batch_size, cost.image_size, cost.image_size, 3)
    batch: Any = jax.device_put(
        {
            "image": random.integers(0, 256, shape, np.uint8),
            "label": random.integers(0, 10, batch_size).astype(np.int32),
            "mask": np.ones(batch_size, bool),
            "index": np.arange(batch_size, dtype=np.int32),
        }
    )
    predict = compile_step(jax.jit(predict_step), state, batch)
    evaluation = seconds_a_call(lambda: predict(state, batch), seconds)
    clock = time.perf_counter()
    step: Any = compile_step(jax.jit(train_step, donate_argnums=0), state, batch)
    compiling = time.perf_counter() - clock
    plan = step.memory_analysis()
    return cost._replace(
        memory=None if plan is None else plan.temp_size_in_bytes / batch_size,
        training=batch_size / seconds_a_step(step, state, batch, seconds),
        evaluation=batch_size / evaluation,
        compiling=compiling,
    )
