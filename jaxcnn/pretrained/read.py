"""Weight files as state dicts: {name: array} in PyTorch's layout.

No format here runs code when it is read. A pickle (`torch.save`) does, whoever sent it, so that
none is opened.
"""

import zipfile
import zlib
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from jaxcnn.errors import UserError
from jaxcnn.pretrained.hdf5 import read_hdf5

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


FORMATS: dict[str, Callable[[Path], StateDict]] = {
    ".safetensors": _read_safetensors,
    ".npz": _read_npz,
    ".h5": read_hdf5,
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
