"""Prepared data sets of TFDS in a bucket, copied here once: array_record is read from disks."""

import hashlib
import logging
import shutil
import time
from pathlib import Path
from uuid import uuid4

from jaxcnn.errors import UserError
from jaxcnn.files.local_folder import copy_here
from jaxcnn.files.locks import held
from jaxcnn.files.paths import files

logger = logging.getLogger(__name__)

_ROOT = "~/.cache/jaxcnn/tfds"
_INFO = "dataset_info.json"


def copy_prepared(name: str, dir: Path) -> Path:
    """A folder of this machine to give TFDS in place of `dir`, an address: what is prepared there
    under a name of TFDS ("cifar10", "cifar10:3.0.2"), in its newest version if none is named.

    It is copied to ~/.cache/jaxcnn/tfds, and again where names or sizes of the files have changed.
    UserError where there is nothing, or no room for it.
    """
    dataset, _, version = name.partition(":")
    folders = _prepared(dir / dataset, version)
    if not folders:
        raise UserError(
            f"config.data.dir={dir}: {name} is not prepared there; prepare it on a machine, and "
            f"copy it: gcloud storage cp -r FOLDER/{dataset} {dir}"
        )
    root = Path(_ROOT, hashlib.sha256(str(dir).encode()).hexdigest()[:24]).expanduser()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with held(root / ".lock"):  # the processes of one machine share the copy
            for folder in folders:
                _copy(dir / dataset / folder, root / dataset / folder)
    except OSError as error:
        told = f"{dir} cannot be copied to {root} ({error.strerror or error})"
        raise UserError(f"config.data.dir={dir}: {told}; copy it by hand and give that") from error
    return root


def _prepared(folder: Path, version: str) -> list[str]:
    """The folders with a prepared data set in this one: of each config the newest version, or the
    one that is asked for.
    """
    newest: dict[str, str] = {}
    for name in files(folder):
        place, _, file = name.rpartition("/")
        config, _, number = place.rpartition("/")
        if file == _INFO and version in ("", number):
            newest[config] = max(newest.get(config, ""), place, key=_order)
    return list(newest.values())


def _order(place: str) -> list[int]:
    """Versions as numbers: 3.0.10 comes after 3.0.2."""
    return [int(part) for part in place.rpartition("/")[2].split(".") if part.isdecimal()]


def _copy(folder: Path, target: Path) -> None:
    wanted = {name: size for name, (_, size) in files(folder).items()}
    if {name: size for name, (_, size) in files(target).items()} == wanted:
        return
    clock, total = time.perf_counter(), sum(wanted.values())
    target.parent.mkdir(parents=True, exist_ok=True)
    if total > shutil.disk_usage(target.parent).free:
        raise UserError(
            f"config.data.dir={folder}: is {total / 1e9:.1f} GB, and {target.parent} has no room "
            "for a copy; free some space, or mount the bucket (Cloud Storage FUSE) and give that"
        )
    logger.info("copying %s (%.2f GB) to %s, once", folder, total / 1e9, target)
    for left in target.parent.glob(".unfinished-*"):  # by a process that was killed
        shutil.rmtree(left, ignore_errors=True)
    unfinished = target.with_name(f".unfinished-{uuid4()}")
    try:
        copy_here(folder, unfinished)
        shutil.rmtree(target, ignore_errors=True)
        unfinished.replace(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    logger.info("copied (%.1f s)", time.perf_counter() - clock)
