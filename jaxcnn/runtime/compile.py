"""Compiling: the persistent cache; options and formulations by platform."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

from jaxcnn.core.cpu import cpu_formulations
from jaxcnn.errors import UserError
from jaxcnn.native.formulations import native_formulations
from jaxcnn.native.library import available

# XLA:CPU of jaxlib 0.10.2 hands convolutions to YNNPACK, which is slower at them than Eigen. With
# this it has only dots and reductions (benchmarks/cpu_step.py; numbers: docs/guides/models.md).
CPU_OPTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": (
        "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
    ),
    # Leaves `jax.lax.optimization_barrier` in the program until operations are fused.
    "xla_disable_hlo_passes": "cse_barrier_expander",
}


def enable_compile_cache() -> None:
    """Keeps compiled programs in ~/.cache/jaxcnn/xla, unless JAX is already told another place."""
    if jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
        return
    folder = Path("~/.cache/jaxcnn/xla").expanduser()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return  # no home to write to: compile each time
    jax.config.update("jax_compilation_cache_dir", str(folder))
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in os.environ:
        # Small programs (initialisation, copies) add up to seconds on two cores.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def compile_step(function: Any, *arguments: Any) -> Callable[..., Any]:
    """Compiles a `jit`- or `pmap`-transformed function ahead of time for arguments like these."""
    return compile_lowered(function.lower(*arguments))


def compile_lowered(lowered: Any) -> Callable[..., Any]:
    """Compiles what is traced and lowered, with the options of the platform."""
    if jax.default_backend() == "cpu":
        try:
            return lowered.compile(compiler_options=CPU_OPTIONS)
        except jax.errors.JaxRuntimeError as error:
            if "No such compile option" not in str(error):
                raise
    return lowered.compile()


def formulations(
    platform: str, num_devices: int = 1, native: bool | None = None, training: bool = True
) -> Callable[..., Any] | None:
    """The interceptor that steps on a platform, as of `jax.default_backend()`, call the model's
    layers through; None on accelerators, whose compilers need no help.

    num_devices: of all processes; XLA does not split calls of native code over devices.
    native: whether to use that on a CPU; None: where it can be. UserError if it is wanted and
      cannot be.
    training: otherwise for evaluation, which is faster with native layers, no faster with
      `jaxcnn.core.cpu`'s, and done wherever a run is taken, also where it could not be trained.
    """
    if native and not training:
        native = None
    possible = platform == "cpu" and num_devices == 1
    if native and not possible:
        raise UserError(
            "config.parallel.native=True: is for one CPU device, and here are "
            f"{num_devices} of platform {platform}; leave it out"
        )
    if possible and native is not False and available():
        return native_formulations
    if native:
        raise UserError(
            "config.parallel.native=True: needs g++ or clang++, which builds it, and the log says "
            "what fails; leave it out to train with XLA's convolutions, which are slower"
        )
    return cpu_formulations if training and platform == "cpu" else None
