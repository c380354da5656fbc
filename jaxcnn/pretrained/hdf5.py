"""The `.weights.h5` files of Keras 3 as state dicts.

A layer's arrays stand in its group by number, in the order in which the layer made them. They get
the names and the layout they have in PyTorch, so that one kind of rules does for both:
    conv1/0 (H, W, I, O) -> conv1.weight (O, I, H, W)
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxcnn.errors import UserError

# The arrays of a layer, by what its class is called in the file.
_ARRAYS = {
    "conv2d": ("weight", "bias"),
    "depthwise_conv2d": ("weight", "bias"),
    "dense": ("weight", "bias"),
    "batch_normalization": ("weight", "bias", "running_mean", "running_var"),
    "layer_normalization": ("weight", "bias"),
    "layer_scale": ("layer_scale",),
}
# Input statistics (config.data.mean and .std are ours) and the state of random draws.
_SKIPPED = ("normalization", "seed_generator")


def read_hdf5(path: Path) -> dict[str, np.ndarray]:
    """The layers' arrays by the layers' names, in PyTorch's layout; UserError for other files."""
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"{path}: reading it takes h5py, pip install 'jaxcnn[export]'") from error

    tensors: dict[str, np.ndarray] = {}

    def visit(name: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset):
            group, _, number = name.rpartition("/")
            if found := _tensor(path, group, int(number), entry):
                tensors[found[0]] = found[1]

    with h5py.File(path) as file:
        if "layers" not in file:
            raise UserError(
                f"{path}: not the weights of Keras 3; load the model there and write them with "
                "model.save_weights('weights.weights.h5')"
            )
        file["layers"].visititems(visit)
    return tensors


def _tensor(path: Path, group: str, number: int, entry: Any) -> tuple[str, np.ndarray] | None:
    """The name and the value of a dataset `<number>` in `.../<class>[_<count>]/vars`."""
    layer = group.split("/")[-2]
    kind = re.sub(r"_\d+$", "", layer)
    if kind in _SKIPPED:
        return None
    name = entry.parent.attrs.get("name")
    if name is None:
        raise UserError(f"{path}: has no names of layers; write it again with a newer Keras 3")
    arrays = _ARRAYS.get(kind)
    # Without its scale or its shift, a norm's arrays are not told apart by their number.
    partial = kind == "batch_normalization" and len(entry.parent) != 4
    if arrays is None or number >= len(arrays) or partial:
        raise UserError(f"{path}: layer {name!r} is a {kind} that cannot be read here")
    value = np.asarray(entry)
    if entry.attrs.get("dtype") == "bfloat16":
        value = value.view(jnp.bfloat16)
    turn = _TURNS.get(kind, _as_it_is) if arrays[number] == "weight" else _as_it_is
    return f"{name}.{arrays[number]}", turn(value)


def _as_it_is(value: np.ndarray) -> np.ndarray:
    return value


def _depthwise(kernel: np.ndarray) -> np.ndarray:
    """(H, W, channels, multiplier) -> (channels * multiplier, 1, H, W)."""
    height, width, *_ = kernel.shape
    return kernel.transpose(2, 3, 0, 1).reshape(-1, 1, height, width)


_TURNS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "conv2d": lambda kernel: kernel.transpose(3, 2, 0, 1),
    "depthwise_conv2d": _depthwise,
    "dense": np.transpose,
}
