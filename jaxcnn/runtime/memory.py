"""How much memory was used so far, and when there is none left."""

import sys

import jax


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
    told = str(error).lower()
    names = "resource_exhausted" in told or "out of memory" in told
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and names)
