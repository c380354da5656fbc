"""Where the images of a run wait: in memory, on the devices, or on disk."""

from collections.abc import Iterable

from jaxcnn.data.cache import cached_bytes, decoded_size, memory_size
from jaxcnn.data.decode import Decoding
from jaxcnn.data.source import Source

MODES = ("memory", "device", "stream")


def decoded_bytes(sources: Iterable[Source], how: Decoding, cache_dir: str | None) -> int:
    """What all images take when they are decoded."""
    total = 0
    for source in sources:
        if (known := cached_bytes(source, how, cache_dir)) is not None:
            total += known
        else:
            total += decoded_size(source, how)
    return total


def choose_mode(needed: int, device_memory: int | None) -> str:
    """The fastest place that holds `needed` bytes of images.

    device_memory: bytes of one accelerator, each of which gets a copy; None: there is none, and the
      CPU's own memory is the device's. A model needs room too: images may take a quarter of a
      device's memory, and half of the machine's.
    """
    if device_memory is not None and needed <= device_memory / 4:
        return "device"
    return "memory" if needed <= memory_size() / 2 else "stream"
