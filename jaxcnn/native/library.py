"""Builds this folder's C++ with the machine's compiler, once, and gives it to XLA.

The library lies in ~/.cache/jaxcnn/native under a name of what it was made of: source, compiler,
processor, jaxlib.
"""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
import time
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax

logger = logging.getLogger(__name__)

FOLDER = Path(__file__).parent
SOURCE = FOLDER / "all.cc"
TARGETS = (
    "jaxcnn_convolve",
    "jaxcnn_kernel_gradient",
    "jaxcnn_depthwise",
    "jaxcnn_depthwise_gradient",
    "jaxcnn_channel_sums",
)
_PATIENCE = 300  # seconds for a compiler that takes 3 where nothing else runs
# `-march=native` of ARM's compilers is `-mcpu=native`.
_PROCESSOR = "-mcpu=native" if platform.machine() in ("arm64", "aarch64") else "-march=native"
_FLAGS = ("-std=c++17", "-O3", _PROCESSOR, "-shared", "-fPIC", "-w")


@functools.cache
def available() -> bool:
    """Whether XLA:CPU has this folder's calls: builds and loads them. If not, the log says why."""
    compiler = shlex.split(os.environ.get("CXX", ""))
    compiler = compiler or [shutil.which("g++") or shutil.which("clang++") or ""]
    if compiler == [""]:
        _log_fallback("no C++ compiler (g++ or clang++)")
        return False
    try:
        calls = _calls(compiler)
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or ["it does not say why"]
        _log_fallback(f"{shlex.join(compiler)} cannot build native code ({said[0]})")
        return False
    # No home, one that cannot be written to or run from, a compiler that hangs, another's library.
    except (OSError, RuntimeError, subprocess.SubprocessError, AttributeError) as error:
        _log_fallback(f"no native code ({error})")
        return False
    for name, call in calls.items():
        jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(call), platform="cpu")
    return True


def _log_fallback(reason: str) -> None:
    logger.info("%s: layers are XLA's own, which are slower on a CPU", reason)


def _calls(compiler: list[str]) -> dict[str, Any]:
    """The functions of TARGETS, of the library in the cache, which is built if it is not there."""
    version_text = _run([*compiler, "--version"])
    files = [path for path in sorted(FOLDER.iterdir()) if path.suffix in (".cc", ".h")]
    sources = [path.read_text(encoding="utf-8") for path in files]
    made_of = [*sources, *compiler, version_text, *_FLAGS, version("jaxlib"), _processor()]
    key = hashlib.sha256("\n".join(made_of).encode()).hexdigest()[:16]
    path = Path("~/.cache/jaxcnn/native").expanduser() / f"{key}.so"
    library = None
    if path.exists():
        with suppress(OSError):  # damaged
            library = ctypes.CDLL(str(path))
    if library is None:
        _build(compiler, path)
        library = ctypes.CDLL(str(path))
    return {name: getattr(library, name) for name in TARGETS}


def _build(compiler: list[str], path: Path) -> None:
    clock = time.perf_counter()
    path.parent.mkdir(parents=True, exist_ok=True)
    # Other processes build it too, perhaps: each its own, and the last one's stays.
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        new = Path(folder, path.name)
        include = ["-isystem", jax.ffi.include_dir()]
        _run([*compiler, *_FLAGS, *include, str(SOURCE), "-o", str(new)])
        new.replace(path)
    logger.info("native code for this processor built (%.1f s)", time.perf_counter() - clock)


def _run(line: list[str]) -> str:
    """The output of a command."""
    options: Any = {"capture_output": True, "text": True, "errors": "replace", "timeout": _PATIENCE}
    return subprocess.run(line, check=True, **options).stdout


def _processor() -> str:
    """The name and instructions of the processor, on which what the compiler makes depends."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    described = [
        line for line in lines if line.startswith(("model name", "flags", "Features", "CPU"))
    ]
    return "\n".join(sorted(set(described)) or [platform.processor(), platform.machine()])
