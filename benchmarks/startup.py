"""How long a user waits: from the return key to the first training step, and for the import.

    python benchmarks/startup.py [--config experiments/digits.py] [--runs 4]

Starts the command anew each time and waits for the log line of its first step; caches are warm from
the second run on. Also times `import jaxcnn` against `import jax, flax.linen, optax`, in turn.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time

from jaxcnn.timing.speed import first_step


def seconds_of(code: str) -> float:
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="experiments/digits.py")
    parser.add_argument("--runs", type=int, default=4)
    options, more = parser.parse_known_args()
    if options.runs < 2:
        parser.error(f"--runs={options.runs}: give 2 or more; the first one fills the caches")
    runs = []
    for number in range(1, options.runs + 1):
        with tempfile.TemporaryDirectory() as workdir:
            seconds, parts = first_step(["--config", options.config, *more, "--workdir", workdir])
        runs.append(seconds)
        words = " · ".join(parts)
        print(f"run {number}: {seconds:.2f} s to the first step ({words})", flush=True)
    print(f"median of runs 2 to {options.runs}: {statistics.median(runs[1:]):.2f} s")

    codes = ("import jax, flax.linen, optax", "import jax, flax.linen, optax, jaxcnn")
    times = [[seconds_of(code) for code in codes] for _ in range(options.runs + 1)][1:]
    plain, ours = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{codes[0]}: {plain:.2f} s; with jaxcnn {ours:.2f} s, {ours - plain:+.2f} s")


if __name__ == "__main__":
    main()
