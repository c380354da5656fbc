"""TensorBoard's event files, written by a process of their own.

    python -P events.py < LINES

A line is {"workdir": "runs/a", "step": 7, "scalars": {"train/loss": 0.5}}; instead of scalars there
may be "images" (PNG files in base64, by name), "histograms" (values, by name) or, without a step,
"hparams". Each directory gets files of its own.

CLU imports TensorFlow, which takes seconds and talks on stderr. Out here it holds up no training
step, touches none of the run's devices, and writes what it was given even if the run is killed.
Run as a script, not as a module: importing jaxcnn would take another second. (-P: the names beside
this file are not modules for TensorFlow to find.)
"""

import base64
import io
import json
import os
import queue
import sys
import threading

import numpy as np

# Directories written at once: each is an open file, of which a process may have some 1,000. One
# that was closed gets another file when there is more for it.
_MOST_OPEN = 64


def main() -> None:
    """Copies lines from stdin to event files until stdin ends; exit code 3 without TensorFlow."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        # At once, while TensorFlow is still being imported: a full pipe would stop the run.
        for line in sys.stdin:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"  # the run's own, not this process's
    os.environ["JAX_PLATFORMS"] = "cpu"
    try:
        from clu.metric_writers import SummaryWriter
    except Exception as error:  # a broken TensorFlow raises anything
        print(f"{type(error).__name__}: {error}".splitlines()[0])
        sys.exit(3)
    writers: dict[str, SummaryWriter] = {}
    while line := lines.get():
        content = json.loads(line)
        workdir = content.pop("workdir")
        if workdir not in writers and len(writers) == _MOST_OPEN:
            writers.pop(next(iter(writers))).close()
        # The one used least lately comes first.
        writers[workdir] = writers.pop(workdir, None) or SummaryWriter(workdir)
        _write(writers[workdir], **content)
        if lines.empty():
            for writer in writers.values():
                writer.flush()
    for writer in writers.values():
        writer.close()


def _write(writer, step=0, scalars=None, images=None, histograms=None, hparams=None):
    if scalars:
        writer.write_scalars(step, scalars)
    if images:
        writer.write_images(step, {name: _pixels(png) for name, png in images.items()})
    if histograms:
        writer.write_histograms(step, {k: np.array(v) for k, v in histograms.items()})
    if hparams:
        writer.write_hparams(hparams)


def _pixels(png: str) -> np.ndarray:
    """uint8[1, H, W, 3]."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB"))[None]


if __name__ == "__main__":
    main()
