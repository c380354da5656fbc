"""Compares trained models that were tested on the same images: is one better, or was it luck?

    python -m jaxcnn.compare runs/small runs/wide
    python -m jaxcnn.compare runs/small runs/wide runs/deep --output=comparison

Reads the reports in the run directories (training makes them; python -m jaxcnn.evaluate makes them
again). Prints a table and writes compare.html (curves, numbers and what the configs differ in),
compare.json and curves.png. Two models are compared image by image: McNemar's test, and an interval
for the difference in accuracy; with more than two models the p-values are Holm's.
"""

from absl import flags

from jaxcnn import cli
from jaxcnn.comparison import compare
from jaxcnn.errors import UserError, printable
from jaxcnn.paths import as_path
from jaxcnn.runtime.outdir import check_writable

_OUTPUT = flags.DEFINE_string("output", "runs/compare", "Where the results go.")


def main(*runs: str) -> None:
    if len(runs) < 2:
        raise UserError("give two run directories or more, python -m jaxcnn.compare RUN RUN")
    output = as_path(_OUTPUT.value)
    check_writable(output, "output")
    print(compare([as_path(run) for run in runs], output))
    print(f"\nmore in {printable(str(output / 'compare.html'))}")


if __name__ == "__main__":
    cli.run(main, usage=__doc__, arguments="RUN RUN ...")
