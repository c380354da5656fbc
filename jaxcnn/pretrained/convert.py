r"""A PyTorch state dict as variables of a linen module.

    rules = ((r"layer(\d)\.(\d+)\.conv(\d)", r"stage\1_block\2/conv\3"), (r"fc", "head"))
    converted = convert(state_dict, rules, variables)

Rules are about modules; which of a module's arrays a tensor is follows from what the module has:
`weight` is a kernel or a norm's scale, `running_mean` a norm's statistics;
other names are the same.
"""

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcnn.pretrained.names import Rules

PyTree = Any

# Counts batches for a kind of averaging that nobody uses here.
_IGNORED = "num_batches_tracked"
_LEAVES = {
    "weight": (("params", "kernel"), ("params", "scale"), ("batch_stats", "kernel")),
    "gamma": (("params", "layer_scale"),),
    "bias": (("params", "bias"),),
    "running_mean": (("batch_stats", "mean"),),
    "running_var": (("batch_stats", "var"),),
}


class Converted(NamedTuple):
    """variables: as `like`, with what was found.

    loaded: (their name, ours). misfits: (their name, their shape, our name, our shape), in our
    layout; left_over: their names that no rule or no array of ours takes. missing: our names that
    nothing was found for; their arrays are those of `like`.
    """

    variables: dict[str, PyTree]
    loaded: list[tuple[str, str]]
    misfits: list[tuple[str, tuple[int, ...], str, tuple[int, ...]]]
    left_over: list[str]
    missing: list[str]


def convert(
    state_dict: Mapping[str, np.ndarray], rules: Rules, like: Mapping[str, PyTree]
) -> Converted:
    """state_dict: tensors by PyTorch's names, in its layout (convolutions OIHW, dense layers OI).

    like: {"params": ..., "batch_stats": ...} of the model. Arrays keep the dtypes of `like`.
    """
    ours = named_arrays(like)
    taken: dict[str, np.ndarray] = {}
    loaded, misfits, left_over = [], [], []
    for name, tensor in state_dict.items():
        if name.endswith(_IGNORED):
            continue
        place = _place(name, rules, ours)
        if place is None:
            left_over.append(name)
            continue
        value = in_our_layout(np.asarray(tensor), place)
        if value.shape != ours[place].shape:
            misfits.append((name, value.shape, place, ours[place].shape))
            continue
        taken[place] = value.astype(ours[place].dtype)
        loaded.append((name, place))
    missing = [place for place in ours if place not in taken]
    return Converted(replace_arrays(like, taken), loaded, misfits, left_over, missing)


def in_our_layout(tensor: np.ndarray, name: str) -> np.ndarray:
    """A PyTorch tensor as linen keeps it: kernels OIHW -> HWIO and OI -> IO, and scales of channels
    C11 -> C.

    name: ours.
    """
    if not name.endswith("/kernel"):
        return tensor.reshape(-1) if tensor.shape[1:] == (1, 1) else tensor
    return tensor.transpose(2, 3, 1, 0) if tensor.ndim == 4 else tensor.T


def _place(name: str, rules: Rules, ours: Mapping[str, Any]) -> str | None:
    """The name of our array that their tensor is."""
    module, _, leaf = name.rpartition(".")
    for pattern, path in rules:
        if match := re.fullmatch(pattern, module):
            for collection, array in _LEAVES.get(leaf, (("params", leaf),)):
                place = f"{collection}/{match.expand(path)}/{array}"
                if place in ours:
                    return place
    return None


def named_arrays(tree: Mapping[str, PyTree]) -> dict[str, Any]:
    """Returns {"params/head/kernel": array, ...}."""
    leaves = jax.tree_util.tree_leaves_with_path(dict(tree))
    return {_name(path): leaf for path, leaf in leaves}


def replace_arrays(tree: Mapping[str, PyTree], arrays: Mapping[str, Any]) -> dict[str, PyTree]:
    """Returns the tree with other arrays under some names."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: arrays.get(_name(path), leaf), dict(tree)
    )


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
