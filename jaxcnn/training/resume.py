"""What a run that was begun before is held to: its config, its data, its description of them."""

import logging
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from jaxcnn.config.choices import own_names
from jaxcnn.config.experiment import definitions, source_of
from jaxcnn.config.keys import differences, flatten, load_config
from jaxcnn.config.table import FREE_ON_RESUME
from jaxcnn.data.source import Dataset
from jaxcnn.data.splits import describe
from jaxcnn.errors import UserError, command
from jaxcnn.files.rundir import CONFIG, DATASET, EXPERIMENT, git_commit, read_json, versions

# Keys that each process of a run may have its own values of.
_OWN = ("experiment", "data.dir", "data.manual_dir", "data.cache_", "data.num_workers")

logger = logging.getLogger(__name__)


def check_same_config(config: ConfigDict, workdir: Path, finished: bool) -> None:
    """UserError where the run in `workdir` has another config; what may change is logged."""
    _warn_of_other_definitions(config, workdir)
    changed = differences(load_config(workdir / CONFIG), config)
    for key in [key for key in changed if key.startswith(FREE_ON_RESUME)]:
        old, new = changed.pop(key)
        logger.info("config.%s was %r, is %r now", key, old, new)
    if not changed:
        return
    listed = ", ".join(f"config.{k} was {old!r}, is {new!r}" for k, (old, new) in changed.items())
    if finished and all(key.startswith("num_") for key in changed):
        longer = all(None not in pair and pair[0] < pair[1] for pair in changed.values())
        name = workdir.name + ("-longer" if longer else "-again")
        raise UserError(
            f"--workdir={workdir}: the run in it is finished, and its learning rate was scheduled "
            f"to end there ({listed}): train {'for longer' if longer else 'again'} in a new "
            f"--workdir, {command(workdir=str(workdir.with_name(name)))}"
        )
    raise UserError(
        f"--workdir={workdir}: the run in it has another config ({listed}); give a new --workdir, "
        "or the old values to resume it"
    )


def _warn_of_other_definitions(config: ConfigDict, workdir: Path) -> None:
    """Warns where the experiment file defines something else than when the run began."""
    own = {key: name for key, name in own_names(config).items() if ":" not in name}
    kept = workdir / EXPERIMENT
    if not own or not config.experiment or not kept.is_file():
        return
    if definitions(kept.read_text()) != definitions(source_of(config.experiment)):
        logger.warning(
            "%s has changed since the run began, which uses its %s",
            config.experiment,
            ", ".join(f"{name} (config.{key})" for key, name in own.items()),
        )


def check_same_data(dataset: Dataset, workdir: Path) -> None:
    """UserError where the run in `workdir`, if there is one, began with other data."""
    previous = read_json(workdir / DATASET)
    if previous is not None and previous["identity"] != dataset.identity:
        sizes = {role: len(split) for role, split in dataset.splits.items()}
        raise UserError(
            f"--workdir={workdir}: the data have changed since the run in it began (images: "
            f"{previous['splits']} then, {sizes} now); give a new --workdir"
        )


def what_is_alike(config: ConfigDict, dataset: Dataset) -> dict[str, str]:
    """What all processes of a run must have in common; where data are, each may say for itself."""
    values = {k: v for k, v in flatten(config).items() if not k.startswith(_OWN)}
    return {
        "an experiment file": source_of(config.experiment) if config.experiment else "",
        "a config": repr(sorted(values.items())),
        "data": dataset.identity,
        "a config.data.mode": dataset.mode,
        "versions": str(versions()),
        "a git commit": str(git_commit()),
    }


def describe_data(config: ConfigDict, dataset: Dataset, workdir: Path | None) -> dict[str, Any]:
    """The content of `dataset.json`; what a run began with is kept, to normalise as it did.

    workdir: of a run that goes on; None for a new run.
    """
    previous = None if workdir is None else read_json(workdir / DATASET)
    if previous is not None and previous.get("identity") == dataset.identity:
        return previous
    return describe(dataset, config.data.mean, config.data.std)
