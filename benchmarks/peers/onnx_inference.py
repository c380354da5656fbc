"""The file that jaxcnn exports, in onnxruntime."""

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
from peers.flax_tf_data import filled
from peers.jaxcnn_run import MODEL
from peers.task import NUM_CLASSES, THREADS, Task, weights

from jaxcnn import MODELS
from jaxcnn.exports import onnx
from jaxcnn.exports.model import Model


def build(task: Task) -> dict[str, Callable]:
    model = MODELS[task.network](num_classes=NUM_CLASSES, **MODEL[task.network])
    variables = model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)
    variables["params"] = filled(variables["params"], weights(task.network))

    def probabilities(variables, image):
        return jax.nn.softmax(model.apply(variables, image.astype(jnp.float32) / 255, train=False))

    path = task.folder / f"{task.network}.onnx"
    onnx.write(path, Model(probabilities, variables, (32, 32, 3), {"model": task.network}))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    image, _ = task.batch()

    def run(image: np.ndarray) -> np.ndarray:
        return session.run(["probabilities"], {"image": image})[0]

    return {"check": lambda: run(image), "calls": timed(run, image)}


def timed(run: Callable[[np.ndarray], np.ndarray], image: np.ndarray) -> Callable:
    """(batch size, n) -> how many ms each of n calls took."""

    def calls(batch_size: int, n: int) -> list[float]:
        batch, taken = image[:batch_size].copy(), []
        for _ in range(n):
            started = time.perf_counter()
            run(batch)
            taken.append(1000 * (time.perf_counter() - started))
        return taken

    return calls
