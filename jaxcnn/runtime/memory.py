"""How much a run takes of what its devices have: their memory, their arithmetic, their time.

Model FLOPs utilisation (MFU) is the arithmetic of the train step as it is written, a second, over
the peak of the devices (Chowdhery et al. 2022, arXiv:2204.02311): what is computed twice to save
memory counts once.
"""

import sys
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import jax

# Dense bfloat16 FLOP/s of one device, by the name JAX gives its kind. A run in float32 is measured
# against the same number. NVIDIA's data sheets, of numbers given with sparsity half; Google's
# pages on TPU versions give chips: a device of v2 and v3 is half of one.
PEAK_FLOPS = {
    "NVIDIA A100-SXM4-40GB": 312e12,
    "NVIDIA A100-SXM4-80GB": 312e12,
    "NVIDIA A100-PCIE-40GB": 312e12,
    "NVIDIA A100 80GB PCIe": 312e12,
    "NVIDIA H100 80GB HBM3": 989e12,
    "NVIDIA H100 PCIe": 756e12,
    "NVIDIA H100 NVL": 835e12,
    "NVIDIA H200": 989e12,
    "NVIDIA B200": 2250e12,
    "NVIDIA L4": 121e12,
    "NVIDIA L40S": 362e12,
    "TPU v2": 46e12 / 2,
    "TPU v3": 123e12 / 2,
    "TPU v4": 275e12,
    "TPU v5 lite": 197e12,
    "TPU v5e": 197e12,
    "TPU v5": 459e12,
    "TPU v5p": 459e12,
    "TPU v6 lite": 918e12,
    "TPU v6e": 918e12,
}


def peak_flops(devices: Sequence[jax.Device]) -> float | None:
    """The FLOP/s of all devices together; None if that of one is not known."""
    peaks = [PEAK_FLOPS.get(device.device_kind) for device in devices]
    return None if None in peaks else sum(filter(None, peaks))


def step_flops(lowered: Any) -> float | None:
    """FLOPs of one call of what `jax.jit(step).lower(...)` gives, on all devices together, before
    XLA changes the program; None where a platform counts none. Positions of a convolution that see
    only padding are left out. Of a `pmap` it is one device's share.
    """
    analysis = lowered.cost_analysis()
    return float(analysis["flops"]) if analysis and "flops" in analysis else None


def memory_peak() -> dict[str, float]:
    """{"device_memory_peak_mb"} of the fullest device here; where devices do not tell (CPUs, whose
    memory is the machine's), {"process_memory_peak_mb"} of this process; in millions of bytes.
    """
    stats = [device.memory_stats() or {} for device in jax.local_devices()]
    if peaks := [one["peak_bytes_in_use"] for one in stats if "peak_bytes_in_use" in one]:
        return {"device_memory_peak_mb": round(max(peaks) / 1e6, 1)}
    try:
        import resource
    except ImportError:  # not on Windows
        return {}
    unit = 1 if sys.platform == "darwin" else 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return {"process_memory_peak_mb": round(peak / 1e6, 1)}


def out_of_memory(error: BaseException) -> bool:
    """Whether a device, or the operating system, had too little memory for what raised this."""
    message = str(error).lower()
    names = "resource_exhausted" in message or "out of memory" in message
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and names)


def seconds_a_call(call: Callable[[], Any], seconds: float, fewest: int = 3) -> float:
    """Median of the calls that fit into so many seconds, of `fewest` at least, after a first one;
    the devices are waited for.
    """
    jax.block_until_ready(call())
    times: list[float] = []
    while len(times) < fewest or sum(times) < seconds:
        clock = time.perf_counter()
        jax.block_until_ready(call())
        times.append(time.perf_counter() - clock)
    return median(times)


def seconds_a_step(
    step: Callable[..., Any], state: Any, batch: Any, seconds: float, fewest: int = 3
) -> float:
    """The same for a train step, which is given the state that the previous one returned."""

    def call() -> Any:
        nonlocal state
        state, metrics = step(state, batch)
        return metrics

    return seconds_a_call(call, seconds, fewest)
