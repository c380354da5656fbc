"""PyTorch's `inference_mode`, with channels_last, and `torch.compile` where TORCH_COMPILE=1."""

import os
from collections.abc import Callable

import numpy as np
import torch
from peers.onnx_inference import timed
from peers.task import THREADS, Task
from peers.torch_loop import make_model, to_float


def build(task: Task) -> dict[str, Callable]:
    torch.set_num_threads(THREADS)
    # Always the CPU, as onnxruntime.
    model = make_model(task.network).eval().cpu()
    image, _ = task.batch()

    def probabilities(image: torch.Tensor) -> torch.Tensor:
        return model(to_float(image)).softmax(-1)

    if os.environ.get("TORCH_COMPILE") == "1":
        # As shapes are known to be fixed, each gets a program of its own.
        probabilities = torch.compile(probabilities, dynamic=False)

    @torch.inference_mode()
    def run(image: np.ndarray) -> np.ndarray:
        return probabilities(torch.from_numpy(image)).numpy()

    return {"check": lambda: run(image), "calls": timed(run, image)}
