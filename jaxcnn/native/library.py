"""Builds this folder's C++ with the machine's compiler, once, and gives it to XLA.

The library lies in ~/.cache/jaxcnn/native under a name of what it was made of: source, compiler,
processor, jaxlib. Building takes 3 s on 2 CPU cores.
"""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import jax

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
SOURCES = ("convolution.cc", "depthwise.cc", "channel_sums.cc")
TARGETS = (
    "jaxcnn_convolve",
    "jaxcnn_kernel_gradient",
    "jaxcnn_depthwise",
    "jaxcnn_depthwise_gradient",
    "jaxcnn_channel_sums",
)
# `-march=native` of ARM's compilers is `-mcpu=native`.
_PROCESSOR = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
_FLAGS = ("-std=c++17", "-O3", _PROCESSOR, "-shared", "-fPIC", "-w")


@functools.cache
def available() -> bool:
    """Whether XLA:CPU has this folder's calls: builds and loads them. If not, the log says why."""
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        _tell("no C++ compiler (g++ or clang++)")
        return False
    try:
        library = _loaded(compiler)
    except (OSError, subprocess.SubprocessError) as error:
        said = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        reason = said[0] if said else "it does not say why"
        _tell(f"{compiler} cannot build native code ({reason})")
        return False
    for name in TARGETS:
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(getattr(library, name)), platform="cpu")
    return True


def loaded() -> bool:
    """Whether this process has asked for the calls, and has them."""
    return available.cache_info().currsize > 0 and available()


def _tell(reason: str) -> None:
    logger.info("%s: layers are XLA's own, which are slower on a CPU", reason)


def _loaded(compiler: str) -> ctypes.CDLL:
    """The library for this machine, from the cache or built into it."""
    told = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True)
    sources = [
        path.read_text() for path in sorted(FOLDER.glob("*.cc")) + sorted(FOLDER.glob("*.h"))
    ]
    made_of = [*sources, compiler, told.stdout, *_FLAGS, version("jaxlib"), _processor()]
    key = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:16]
    path = Path("~/.cache/jaxcnn/native").expanduser() / f"{key}.so"
    if path.exists():
        try:
            return ctypes.CDLL(str(path))
        except OSError:  # damaged
            pass
    _build(compiler, path)
    return ctypes.CDLL(str(path))


def _build(compiler: str, path: Path) -> None:
    clock = time.perf_counter()
    path.parent.mkdir(parents=True, exist_ok=True)
    sources = [str(FOLDER / name) for name in SOURCES]
    # Other processes build it too, perhaps: each its own, and the last one's stays.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        new = Path(folder, path.name)
        files = ["-isystem", jax.ffi.include_dir(), *sources, "-o", str(new)]
        subprocess.run([compiler, *_FLAGS, *files], capture_output=True, text=True, check=True)
        new.replace(path)
    logger.info("native code for this processor built (%.1f s)", time.perf_counter() - clock)


def _processor() -> str:
    """What the compiler would make the library for."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    told = [line for line in lines if line.startswith(("model name", "flags", "Features", "CPU"))]
    return "\n".join(sorted(set(told)) or [platform.processor(), platform.machine()])
