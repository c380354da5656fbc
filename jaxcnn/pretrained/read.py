"""Weight files as state dicts: {name: array} in PyTorch's layout.

No format here runs code when it is read. A pickle (`torch.save`) does, whoever sent it, so that
none is opened.

In the `.weights.h5` files of Keras 3 a layer's arrays stand in its group by number, in the order in
which the layer made them. They get the names and the layout that they have in PyTorch, so that one
kind of rules does for both: conv1/0 (H, W, I, O) -> conv1.weight (O, I, H, W).
"""

import re
import zipfile
import zlib
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxcnn.errors import UserError

StateDict = dict[str, np.ndarray]

_PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib", ".tar")

# What safetensors calls the dtypes that weights come in.
_DTYPES = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,
    "I64": np.int64,
    "I32": np.int32,
}

# What PyTorch's wrappers (DataParallel, compile) put before every name.
_WRAPPERS = ("module.", "_orig_mod.")


def read_weights(path: Path) -> StateDict:
    """The tensors of a file; UserError where it cannot be read, holds none, or one is not finite.

    A prefix that DataParallel or `torch.compile` put before all names is taken off.
    """
    read = FORMATS[check_format(path)]
    try:
        tensors = read(path)
    except UserError:
        raise
    except (*_DAMAGE, _safetensor_error()) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{path}: cannot be read as {path.suffix.lower()} ({reason[:200]}); is it whole, and "
            "what its name says?"
        ) from error
    if not tensors:
        raise UserError(f"{path}: holds no tensors")
    for name, tensor in tensors.items():
        if not jnp.issubdtype(tensor.dtype, jnp.number):
            raise UserError(f"{path}: tensor {name} is of {tensor.dtype}, not of numbers")
        if not np.isfinite(tensor).all():
            raise UserError(f"{path}: tensor {name} is not finite; give another file")
    return _unwrapped(tensors)


def check_format(path: Path) -> str:
    """The suffix of a file that is there and of a known format; UserError tells what to do else."""
    suffix = path.suffix.lower()
    if not path.is_file():
        raise UserError(f"{path}: no such file; give a weight file or the directory of a run")
    if suffix in _PICKLES:
        raise UserError(
            f"{path}: {suffix} files are pickles, which may run any code when they are read; where "
            "you trust it, load it and write safetensors.torch.save_file(state_dict, "
            "'weights.safetensors')"
        )
    if suffix not in FORMATS:
        raise UserError(
            f"{path}: expected {', '.join(FORMATS)} or the directory of a run; in Keras, "
            "model.save_weights('weights.weights.h5') writes one"
        )
    if path.stat().st_size == 0:
        raise UserError(f"{path}: is empty; copy or download it again")
    return suffix


def _read_safetensors(path: Path) -> StateDict:
    from safetensors import deserialize

    tensors = {}
    # In the order of their names: they come in another one each time.
    for name, tensor in sorted(deserialize(path.read_bytes()), key=itemgetter(0)):
        if tensor["dtype"] not in _DTYPES:
            raise UserError(
                f"{path}: tensor {name} is of {tensor['dtype']}; save it as float32 or bfloat16"
            )
        dtype = np.dtype(_DTYPES[tensor["dtype"]])
        tensors[name] = np.frombuffer(tensor["data"], dtype).reshape(tensor["shape"])
    return tensors


def _read_npz(path: Path) -> StateDict:
    with np.load(path, allow_pickle=False) as archive:
        if not isinstance(archive, np.lib.npyio.NpzFile):
            raise ValueError("it holds one array without a name")
        tensors = {name: archive[name] for name in archive.files}
    for name, tensor in tensors.items():
        if not isinstance(tensor, np.ndarray):  # PyTorch's own files are zip archives, too
            raise ValueError(f"{name} in it is no array")
    return tensors


def _depthwise(kernel: np.ndarray) -> np.ndarray:
    """(H, W, channels, multiplier) -> (channels * multiplier, 1, H, W)."""
    height, width, *_ = kernel.shape
    return kernel.transpose(2, 3, 0, 1).reshape(-1, 1, height, width)


# The arrays of a layer of Keras, by what its class is called in the file, and the layout of the
# first one in PyTorch.
_AFFINE = ("weight", "bias")
_KERAS: dict[str, tuple[tuple[str, ...], Callable[[np.ndarray], np.ndarray]]] = {
    "conv2d": (_AFFINE, lambda kernel: kernel.transpose(3, 2, 0, 1)),
    "depthwise_conv2d": (_AFFINE, _depthwise),
    "dense": (_AFFINE, np.transpose),
    "batch_normalization": ((*_AFFINE, "running_mean", "running_var"), np.asarray),
    "layer_normalization": (_AFFINE, np.asarray),
    "layer_scale": (("layer_scale",), np.asarray),
}
# Input statistics (config.data.mean and .std are ours) and the state of random draws.
_SKIPPED = ("normalization", "seed_generator")


def _keras_tensor(path: Path, name: str, entry: Any) -> StateDict:
    """The name and the value of a dataset `.../<class>[_<count>]/vars/<number>`."""
    *_, layer, _, number = name.split("/")
    kind = re.sub(r"_\d+$", "", layer)
    if kind in _SKIPPED:
        return {}
    ours = entry.parent.attrs.get("name")
    if ours is None:
        raise UserError(f"{path}: has no names of layers; write it again with a newer Keras 3")
    arrays, turn = _KERAS.get(kind, ((), np.asarray))
    # Without its scale or its shift, a norm's arrays are not told apart by their number.
    partial = kind == "batch_normalization" and len(entry.parent) != 4
    if int(number) >= len(arrays) or partial:
        raise UserError(f"{path}: layer {ours!r} is a {kind} that cannot be read here")
    value = np.asarray(entry)
    if entry.attrs.get("dtype") == "bfloat16":
        value = value.view(jnp.bfloat16)
    return {f"{ours}.{arrays[int(number)]}": value if int(number) else turn(value)}


def _read_hdf5(path: Path) -> dict[str, np.ndarray]:
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"{path}: reading it takes h5py, pip install 'jaxcnn[export]'") from error

    tensors: StateDict = {}

    def visit(name: str, entry: Any) -> None:
        if isinstance(entry, h5py.Dataset):
            tensors.update(_keras_tensor(path, name, entry))

    with h5py.File(path) as file:
        if "layers" not in file:
            raise UserError(
                f"{path}: not the weights of Keras 3; load the model there and write them with "
                "model.save_weights('weights.weights.h5')"
            )
        file["layers"].visititems(visit)
    return tensors


FORMATS: dict[str, Callable[[Path], StateDict]] = {
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
    ".h5": _read_hdf5,
}

_DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    RuntimeError,  # an encrypted member; NotImplementedError, a compression that zipfile lacks
    zipfile.BadZipFile,
    zlib.error,
)


def _safetensor_error() -> type[Exception]:
    from safetensors import SafetensorError

    return SafetensorError


def _unwrapped(tensors: StateDict) -> StateDict:
    for prefix in _WRAPPERS:
        if all(name.startswith(prefix) for name in tensors):
            tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return tensors
