"""Netpbm's formats end as the right uint8 pixels."""

import numpy as np
import pytest

from jaxcnn.data.decode import Decoding, decode
from tests.images import close, noise

KEEP = Decoding()


@pytest.mark.parametrize("high", [15, 255, 4095, 65535])
@pytest.mark.parametrize("kind", [2, 3, 5, 6])
def test_netpbm_is_scaled_by_its_maximum(kind, high):
    pixels = noise(4, 5, 3 if kind in (3, 6) else 1, dtype=np.uint16).astype(int) % (high + 1)
    pixels[0, 0] = high
    header = b"P%d # one\n#two # three\n  5\t4 #four\r\n%d\n" % (kind, high)
    if kind < 4:
        data = b"\n".join(b" ".join(b"%d" % n for n in row.ravel()) for row in pixels) + b"\n"
    else:
        data = pixels.astype(np.uint8 if high < 256 else ">u2").tobytes()
    close(decode(header + data, KEEP), np.rint(pixels * 255 / high))
    windowed = decode(header + data, Decoding(window=(0, 100)))  # means more than 8 bits only
    close(windowed, np.rint(pixels.clip(0, 100) * 2.55 if high > 255 else pixels * 255 / high))


def test_in_bitmaps_1_is_black():
    pixels = noise(5, 11) % 2
    packed = np.packbits(pixels, axis=1).tobytes()
    close(decode(b"P4 11 5\n" + packed, KEEP)[..., 0], 255 * (1 - pixels))
    text = "\n".join("".join(map(str, row)) for row in pixels)
    close(decode(b"P1 11 5\n" + text.encode(), KEEP)[..., 0], 255 * (1 - pixels))
