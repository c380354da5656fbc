"""Trains an image classifier, or goes on with a run that was stopped.

    python -m jaxcnn.main --config experiments/digits.py
    python -m jaxcnn.main --config experiments/digits.py --workdir runs/small --config.num_epochs=5

Start the same command again to resume. The run directory then holds config.json, metrics.jsonl,
TensorBoard files, checkpoints/ and eval.json with the final test.
"""

from pathlib import Path

from absl import flags

from jaxcnn import cli
from jaxcnn.errors import UserError
from jaxcnn.train import train

cli.define_config()
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The run directory. Default: runs/<name of the experiment file>."
)


def main() -> None:
    if _WORKDIR.value == "":
        raise UserError("--workdir: is empty; give a folder, or leave the flag out")
    default = Path("runs") / Path(cli.config_path().split(":")[0]).stem
    workdir = Path(_WORKDIR.value or default).expanduser()
    train(cli.config_from_flags(workdir), workdir)


if __name__ == "__main__":
    cli.run(main, usage=__doc__)
