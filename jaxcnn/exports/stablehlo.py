"""model.stablehlo: the program as XLA takes it, serialized by `jax.export`; one array in, one out.

It runs wherever JAX does, without Flax and without jaxcnn, and keeps running with later versions of
JAX as `jax.export` promises (six months at least). Products are in full float32, also on GPUs and
TPUs, where XLA would take fewer bits.
"""

import logging
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jaxcnn.exports.model import Model

logger = logging.getLogger(__name__)

PLATFORMS = ("cpu", "cuda", "tpu")


def write(path: Path, model: Model) -> None:
    """Writes the program for all PLATFORMS it can be lowered for, at least for the CPU."""
    (size,) = export.symbolic_shape("B") if model.batch is None else (model.batch,)
    image = jax.ShapeDtypeStruct((size, *model.image_shape), jnp.uint8)
    program = jax.jit(model.probabilities)
    try:
        exported = export.export(program, platforms=PLATFORMS)(image)
    except Exception as error:  # lowering raises many kinds
        logger.warning("model.stablehlo: for the CPU only (%s)", " ".join(str(error).split())[:200])
        exported = export.export(program, platforms=("cpu",))(image)
    path.write_bytes(exported.serialize())


def load(path: Path, model: Model) -> Callable[[np.ndarray], np.ndarray]:
    """The program in a file, as a function of arrays."""
    program = jax.jit(export.deserialize(bytearray(path.read_bytes())).call)
    return lambda image: np.asarray(program(image))
