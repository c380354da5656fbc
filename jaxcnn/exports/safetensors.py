"""model.safetensors: the weights alone, as `params/conv1/kernel` in Flax's layouts, with the
content of model.json in the file's metadata. Convolutions are HWIO, dense layers [in, out].
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np

from jaxcnn.exports.model import Model
from jaxcnn.pretrained.convert import named_arrays, replace_arrays


def write(path: Path, model: Model) -> None:
    """Writes all variables, float32."""
    from safetensors.numpy import save

    leaves = named_arrays(model.variables).items()
    arrays = {name: np.ascontiguousarray(leaf) for name, leaf in leaves}
    path.write_bytes(save(arrays, metadata={"jaxcnn": json.dumps(model.card)}))


def load(path: Path, model: Model) -> Callable[[np.ndarray], np.ndarray]:
    """What the model says with the file's weights in the places of its own."""
    from safetensors.numpy import load_file

    arrays = load_file(path)
    ours = named_arrays(model.variables).items()
    arrays = {name: arrays[name].astype(leaf.dtype) for name, leaf in ours}
    variables = replace_arrays(model.variables, arrays)
    program = jax.jit(replace(model, variables=variables).probabilities)
    return lambda image: np.asarray(program(image))
