"""Looks at every image of a data set once, and tells what training would stumble over.

    jaxcnn check_data --config digits
    jaxcnn check_data --config my.py --config.data.dir=photos --output runs/photos-data

The config is a training config; splits are those training makes. No image size is needed. In the
output folder are then report.html (everything, in one page), samples.png (images before and after
augmentation), check.json (all numbers), unreadable.csv, duplicates.csv and, of data with groups,
groups.csv: those in more than one split.

Exit code 2, with one line on stderr, if something would harm training:
  - images that cannot be decoded (unless --config.data.on_bad_image=skip leaves them out)
  - one image under two labels, or in two splits, byte for byte the same
  - a group (--config.data.group_pattern) in two splits that came with the data
  - a class with fewer than 3 images to train on
  - splits that cannot be made, or data that cannot be found
Exit code 0 otherwise. Merely told are: copies within a class and split, classes out of balance (3
times as many images) or missing from validation or test, no test, differing sizes without
data.image_size, images less than half as large as it (or as the median), sides of 3:1 and more,
images of one colour, formats or colour modes that give the class away, files that are not used.
"""

from pathlib import Path

from absl import flags

from jaxcnn.cli.parsing import config_from_flags, define_config, experiment_name
from jaxcnn.errors import UserError, printable
from jaxcnn.files.paths import as_path

define_config()
_OUTPUT = flags.DEFINE_string(
    "output", None, "Where the results go. Default: runs/<name of the experiment file>-data."
)


def main() -> None:
    from jaxcnn.checking.check import check

    config = config_from_flags()
    output = as_path(_OUTPUT.value or Path("runs") / f"{experiment_name()}-data")
    checked = check(config, output)
    page = output / "report.html"
    print(f"{checked.text}\n\nmore in {printable(str(page))}", flush=True)
    harm = [finding.what for finding in checked.findings if finding.harm]
    if harm:
        many = "1 finding" if len(harm) == 1 else f"{len(harm)} findings"
        raise UserError(printable(f"{many} would harm training: {'; '.join(harm)}; see {page}"))
    print("nothing found that would harm training")
