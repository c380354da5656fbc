"""TensorBoard's event files, written by a process of their own.

    python -P events.py WORKDIR < LINES    a line: {"step": 7, "scalars": {"train/loss": 0.5}}

CLU imports TensorFlow, which takes seconds and talks on stderr. Out here it holds up no training
step, touches none of the run's devices, and writes what it was given even if the run is killed.
Run as a script, not as a module: importing jaxcnn would take another second. (-P: the names beside
this file are not modules for TensorFlow to find.)
"""

import json
import os
import queue
import sys
import threading


def main(workdir: str) -> None:
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

        writer = SummaryWriter(workdir)
    except Exception as error:  # a broken TensorFlow raises anything
        print(f"{type(error).__name__}: {error}".splitlines()[0])
        sys.exit(3)
    while line := lines.get():
        item = json.loads(line)
        writer.write_scalars(item["step"], item["scalars"])
        if lines.empty():
            writer.flush()
    writer.close()


if __name__ == "__main__":
    main(sys.argv[1])
