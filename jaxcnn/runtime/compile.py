"""Compiling: the persistent cache, and options by platform."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

# XLA:CPU of jaxlib 0.10 hands convolutions to YNNPACK, which is slower at them than Eigen: a step
# of the CIFAR-10 recipe takes {measured below} with this. Dots and reductions stay with YNNPACK.
_CPU_OPTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": (
        "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_REDUCE"
    )
}


def enable_compile_cache() -> None:
    """Keeps compiled programs in ~/.cache/jaxcnn/xla, unless JAX is already told another place."""
    if jax.config.jax_compilation_cache_dir is None:
        folder = Path("~/.cache/jaxcnn/xla").expanduser()
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            return  # no home to write to: compile each time
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # Small programs (initialisation, metrics) add up to seconds on two cores.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)
        # Error messages about the machine features of cached CPU programs are of no use to users.
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def compile_step(function: Any, *arguments: Any) -> Callable[..., Any]:
    """Compiles a `jit`- or `pmap`-transformed function ahead of time for arguments like these."""
    lowered = function.lower(*arguments)
    if jax.default_backend() == "cpu":
        try:
            return lowered.compile(compiler_options=_CPU_OPTIONS)
        except (jax.errors.JaxRuntimeError, NotImplementedError):
            pass  # a jaxlib that does not know the option
    return lowered.compile()
