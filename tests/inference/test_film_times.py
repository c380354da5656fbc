"""What was seen at 0.5 s is at 0.5 s in the film that predict saves, however long frames last."""

import struct

import cv2
import numpy as np
import pytest

from jaxcnn.inference.video import Film, even_rate, frames, open_video

TIMES = {
    "slow and fast": np.cumsum([0, *[0.05] * 10, *[0.5] * 9]),
    "fast and slow": np.cumsum([0, *[0.4] * 4, *[0.1] * 10]),
    "a pause": np.cumsum([0, *[0.1] * 5, 3.0, *[0.1] * 5]),
    "of a phone": np.cumsum([0, *[0.033, 0.034, 0.067] * 5]),
    "of a screen": np.cumsum([0, 0.2, 0.016, 0.9, 0.3, 0.016, 0.45]),
    "steady": np.arange(20) / 10,
    "of television": np.arange(20) * 1001 / 30000,
}


def boxes(data, start, end):
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        yield kind, start, start + size
        start += size


def find(data, *names):
    start, end, place = 0, len(data), (0, 0)
    for name in names:
        place = next((s, e) for kind, s, e in boxes(data, start, end) if kind == name)
        start, end = place[0] + 8, place[1]
    return place


def film_of(path, times):
    """An MP4 of frames with a bar that moves from left to right, shown from these times on."""
    rate = 1 / np.diff(times).mean()
    out = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, (320, 48))
    for k in range(len(times)):
        out.write(bar(k))
    out.release()
    data = bytearray(path.read_bytes())
    table = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts")
    start, end = find(data, *table)
    (scale,) = struct.unpack_from(">I", data, find(data, *table[:3], b"mdhd")[0] + 20)
    steps = np.diff(np.rint(np.append(times, times[-1] + 1 / rate) * scale)).astype(int).tolist()
    new = struct.pack(">I4sII", 16 + 8 * len(steps), b"stts", 0, len(steps))
    new += b"".join(struct.pack(">II", 1, step) for step in steps)
    for depth in range(1, len(table)):
        place = find(data, *table[:depth])[0]
        (size,) = struct.unpack_from(">I", data, place)
        struct.pack_into(">I", data, place, size + len(new) - (end - start))
    struct.pack_into(">I", data, find(data, *table[:3], b"mdhd")[0] + 24, sum(steps))
    data[start:end] = new
    path.write_bytes(data)
    return path


def bar(k):
    image = np.zeros((48, 320, 3), np.uint8)
    image[:, 16 * k : 16 * k + 16] = 255
    return image


def seen(path):
    """(times, numbers of the frames by their bars) of a film."""
    with open_video(str(path)) as video:
        found = list(frames(video))
    sums = [frame.pixels.reshape(48, 20, 16, 3).sum(axis=(0, 2, 3)) for frame in found]
    numbers = np.argmax(sums, axis=1)
    return np.array([frame.seconds for frame in found]), numbers


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
@pytest.mark.parametrize("name", TIMES)
def test_every_frame_is_at_its_time(tmp_path, name, suffix):
    source = film_of(tmp_path / "in.mp4", TIMES[name])
    times, _ = seen(source)
    np.testing.assert_allclose(times, TIMES[name], atol=0.002)
    with open_video(str(source)) as video, Film(tmp_path / f"out{suffix}") as film:
        rate = even_rate(str(source), video.rate)
        for frame in frames(video):
            film.write(frame.pixels, rate, frame.seconds)
    shown, numbers = seen(tmp_path / f"out{suffix}")
    first = np.array([shown[numbers == k].min() for k in range(len(times))])
    assert np.abs(first - times).max() <= 0.5 / rate + 0.002
    if name in ("steady", "of television"):
        assert len(shown) == len(times)


def test_a_camera_is_saved_by_the_clock(tmp_path):
    with Film(tmp_path / "out.avi") as film:
        for k, seconds in enumerate((0.0, 0.51, 0.52, 2.0)):
            film.write(bar(k), 0, seconds)
    shown, numbers = seen(tmp_path / "out.avi")
    assert len(shown) == 51  # 25 a second
    assert [numbers[round(t * 25)] for t in (0.3, 0.6, 1.9, 2.0)] == [0, 2, 2, 3]


def test_a_clock_that_jumps_does_not_fill_the_disk(tmp_path):
    with Film(tmp_path / "out.avi") as film:
        for k, seconds in enumerate((0.0, 0.1, 95443.7, 95443.8, 95443.9)):
            film.write(bar(k), 10, seconds)
    _, numbers = seen(tmp_path / "out.avi")
    assert numbers.tolist() == [0, 1, 2, 3, 4]
