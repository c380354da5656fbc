"""Tells how good a trained model is, where it fails and what it looks at.

    jaxcnn evaluate --workdir runs/digits
    jaxcnn evaluate --workdir runs/folder --split=validation
    jaxcnn evaluate --workdir runs/folder --config.data.dir=other-photos --output=other
    jaxcnn evaluate --workdir runs/digits --config.report.tta="('shift',)"

Training makes this report of its test data when it ends. The folder then holds report.html
(everything, in one page), metrics.json (all numbers), predictions.csv (what the model says of every
image) and the pictures. Other data may be given with --config.data.*; their classes must be the
model's, or some of them. More is made on request: see the report.* keys.
"""

from absl import flags

from jaxcnn.cli.parsing import define_run, trained_from_flags
from jaxcnn.errors import printable
from jaxcnn.files.folders import check_writable
from jaxcnn.files.paths import as_path

define_run()
_SPLIT = flags.DEFINE_string(
    "split", None, "train, validation, test or all. Default: test, else validation, else train."
)
_OUTPUT = flags.DEFINE_string(
    "output", None, "Where the results go. Default: report, in the run directory."
)


def main() -> None:
    from jaxcnn.evaluation.assess import assess, find_data
    from jaxcnn.evaluation.report import default_output, write_report

    trained = trained_from_flags()
    if _OUTPUT.value:
        check_writable(as_path(_OUTPUT.value), "output")
    data = find_data(trained, _SPLIT.value)
    output = as_path(_OUTPUT.value) if _OUTPUT.value else default_output(trained, data)
    text, _ = write_report(assess(trained, data), output)
    print(f"{text}\n\nmore in {printable(str(output / 'report.html'))}")
