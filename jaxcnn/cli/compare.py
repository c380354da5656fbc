"""Compares trained models that were tested on the same images: is one better, or was it luck?

    jaxcnn compare runs/small runs/wide
    jaxcnn compare runs/small runs/wide runs/deep --output=comparison

Reads the reports in the run directories (training makes them; jaxcnn evaluate makes them
again). Prints a table and writes compare.html (curves, numbers and what the configs differ in),
compare.json and curves.png. Two models are compared image by image: McNemar's test, and an interval
for the difference in accuracy; with more than two models the p-values are Holm's.
"""

from absl import flags

from jaxcnn.errors import UserError, printable
from jaxcnn.files.folders import check_writable
from jaxcnn.files.paths import as_path

ARGUMENTS = "RUN RUN ..."

_OUTPUT = flags.DEFINE_string("output", "runs/compare", "Where the results go.")


def check(*runs: str) -> None:
    if len(runs) < 2:
        raise UserError("give two run directories or more, jaxcnn compare RUN RUN")


def main(*runs: str) -> None:
    from jaxcnn.evaluation.compare import compare_runs

    output = as_path(_OUTPUT.value)
    check_writable(output, "output")
    print(compare_runs([as_path(run) for run in runs], output))
    print(f"\nmore in {printable(str(output / 'compare.html'))}")
