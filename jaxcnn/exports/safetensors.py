"""model.safetensors: the weights alone, as `params/conv1/kernel` in Flax's layouts, with the
content of model.json in the file's metadata. Convolutions are HWIO, dense layers [in, out].
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcnn.exports.model import Model


def write(path: Path, model: Model) -> None:
    """Writes all variables, float32."""
    from safetensors.numpy import save

    leaves = jax.tree_util.tree_leaves_with_path(model.variables)
    arrays = {_name(where): np.ascontiguousarray(leaf) for where, leaf in leaves}
    path.write_bytes(save(arrays, metadata={"jaxcnn": json.dumps(model.card)}))


def load(path: Path, model: Model) -> Callable[[np.ndarray], np.ndarray]:
    """What the model says with the file's weights in the places of its own."""
    from safetensors.numpy import load_file

    arrays = load_file(path)
    variables = jax.tree_util.tree_map_with_path(
        lambda where, leaf: arrays[_name(where)].astype(leaf.dtype), model.variables
    )
    program = jax.jit(replace(model, variables=variables).probabilities)
    return lambda image: np.asarray(program(image))


def _name(where: Any) -> str:
    return jax.tree_util.keystr(where, simple=True, separator="/")
