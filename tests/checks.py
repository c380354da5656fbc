"""Data checked as `jaxcnn check_data` does, and what is found."""

import csv

from jaxcnn.checking.check import check
from jaxcnn.config import default_config, resolve


def config_of(folder, source="folder", **data):
    config = default_config()
    config.num_epochs = 1.0
    config.data.source = source
    config.data.dir = str(folder)
    for key, value in data.items():
        config.data[key] = value
    return resolve(config)


def findings(folder, tmp_path, **data):
    """{kind: (harm, what, advice)}."""
    checked = check(config_of(folder, **data), tmp_path / "out")
    return {f.kind: f[1:] for f in checked.findings}


def arguments(folder, output):
    return (
        "--config", "experiments/digits.py", "--config.data.source=folder",
        f"--config.data.dir={folder}", f"--output={output}",
    )  # fmt: skip


def rows(path):
    with path.open(newline="", errors="surrogateescape") as lines:
        return list(csv.DictReader(lines))
