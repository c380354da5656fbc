"""TensorFlow Datasets, read at random and without TensorFlow where the format allows it.

What is prepared in a bucket is copied here once: array_record is read from disks.
"""

import functools
import hashlib
import logging
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from jaxcnn.data.source import Content, Read, Source
from jaxcnn.errors import UserError, nearest
from jaxcnn.files.folders import download
from jaxcnn.files.locks import wait_for_lock
from jaxcnn.files.paths import as_path, files, in_bucket, plain_name

logger = logging.getLogger(__name__)

# Where TFDS keeps its checksums and mirrors; asked only whether it can be reached at all.
_TFDS_HOST = ("storage.googleapis.com", 443)


def load_tfds(
    *,
    name: str,
    dir: str | None = None,
    manual_dir: str | None = None,
    train_split: str = "train",
    validation_split: str | None = "validation",
    test_split: str = "test",
) -> dict[str, Source]:
    """A data set of TFDS by name ("cifar10", "cifar10:3.0.2"), downloaded and prepared if needed.

    dir: where prepared data are, or will be; None: TFDS's own choice, ~/tensorflow_datasets; an
      address in a bucket: see `copy_prepared`.
    manual_dir: a folder with the data set's original files, for a machine without network.
    *_split: TFDS's names and slices ("train[:90%]"). A data set without "validation" or "test", or
      whose "validation" serves as test, does without that role.
    """
    if dir is not None:
        place = as_path(dir)
        dir = str(copy_prepared(name, place) if in_bucket(place) else place)
    manual_dir = manual_dir and str(Path(manual_dir).expanduser())
    builder = _prepared_builder(name, dir, manual_dir)
    image_key, label_key = _supervised_keys(builder)
    class_names = tuple(builder.info.features[label_key].names)

    sources: dict[str, Source] = {}
    taken: list[str] = []
    splits = {"train": train_split, "test": test_split, "validation": validation_split}
    for role, split in splits.items():
        if split is None or (split == role and split not in builder.info.splits):
            continue  # by default a role is the split of its name, if there is one
        if split in taken:
            if split == role:  # test_split="validation", and nobody asked for validation
                continue
            raise UserError(f"config.data.{role}_split={split!r}: serves as another role already")
        taken.append(split)
        try:
            size = builder.info.splits[split].num_examples
        except (KeyError, ValueError) as error:
            raise UserError(
                f"config.data.{role}_split={split!r}: {name} has no such split; it has "
                f"{', '.join(builder.info.splits)}"
            ) from error
        sources[role] = Source(
            size,
            class_names,
            _reader(builder, split, image_key, label_key),
            f"tfds {builder.info.full_name} {split} of {size}, {_fingerprint(builder)}",
            name=f"{builder.name} {split}, image {{}}:".format,
        )
    return sources


def _prepared_builder(name: str, dir: str | None, manual_dir: str | None) -> Any:
    """A builder whose data are on disk: found there in any format, or downloaded and prepared."""
    import tensorflow_datasets as tfds

    if dir is not None and not Path(dir).is_dir() and manual_dir is None and _offline():
        raise UserError(f"config.data.dir={dir!r}: no such folder, and no network to fill it from")
    try:
        builder = _builder(name, dir)  # finds whatever format is there
        if builder.is_prepared():
            return builder
        builder = _builder(name, dir, file_format="array_record")
    except tfds.core.DatasetNotFoundError as error:
        known = tfds.list_builders(with_community_datasets=False)
        raise UserError(
            f"config.data.name={name!r}: TensorFlow Datasets has no such data set"
            f"{nearest(name, known)}"
        ) from error
    except ModuleNotFoundError as error:
        raise _needs_tensorflow(name, error) from error
    except (AssertionError, ValueError) as error:  # an unknown version or variant, odd characters
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"config.data.name={name!r}: {reason}") from error
    return _prepare(builder, name, dir, manual_dir)


def _builder(name: str, dir: str | None, **options: Any) -> Any:
    """TFDS's builder of a data set; by itself it would take "[" in a folder's name for a pattern.

    Its `data_dir` may so be below a link, see `_folder_of`.
    """
    import tensorflow_datasets as tfds

    place = dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    folder = None if "://" in place else str(plain_name(Path(place).expanduser()))
    return tfds.builder(name, data_dir=folder, **options)


def _folder_of(builder: Any, dir: str | None) -> Path:
    """The folder of a prepared data set, as its user names it."""
    folder = Path(builder.data_dir)
    if dir is None or not folder.is_relative_to(link := plain_name(Path(dir))):
        return folder
    return dir / folder.relative_to(link)


def _prepare(builder: Any, name: str, dir: str | None, manual_dir: str | None) -> Any:
    import tensorflow_datasets as tfds

    folder = _folder_of(builder, dir)
    where = f"{name} is not prepared in {folder}"
    advice = (
        "give --config.data.dir=FOLDER where it is prepared, or --config.data.manual_dir=FOLDER "
        "with its original files"
    )
    if manual_dir is not None and not Path(manual_dir).is_dir():
        raise UserError(f"config.data.manual_dir={manual_dir!r}: no such folder")
    if manual_dir is None and _offline():
        raise UserError(f"{where}, and there is no network to download it: {advice}")
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    try:
        with _alone(folder):
            # Another process may have prepared it meanwhile; a builder looks only when it is made.
            if (prepared := _builder(name, dir)).is_prepared():
                return prepared
            logger.info("preparing %s in %s, once", name, folder)
            builder.download_and_prepare(
                download_config=tfds.download.DownloadConfig(
                    manual_dir=manual_dir and str(plain_name(Path(manual_dir)))
                )
            )
    except Exception as error:  # TFDS and its builders raise anything
        if "tensorflow" in str(error) and "No module" in str(error):
            raise _needs_tensorflow(name, error) from error
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{where}, and preparing it failed ({reason}): {advice}") from error
    return builder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits until no other process prepares this folder: two of TFDS break each other's files."""
    with ExitStack() as stack:
        with suppress(OSError):  # what cannot be written is told by whoever prepares
            folder.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(wait_for_lock(folder.with_name(f".{folder.name}.lock")))
        yield


def _needs_tensorflow(name: str, error: Exception) -> UserError:
    return UserError(
        f"preparing {name} takes TensorFlow ({error}): pip install tensorflow, or prepare it "
        "elsewhere as array_record and give --config.data.dir=FOLDER"
    )


def _offline() -> bool:
    """Whether TFDS has no way out; it would take minutes of retries to say so itself."""
    if any(os.environ.get(name) for name in ("https_proxy", "HTTPS_PROXY", "all_proxy")):
        return False
    try:
        socket.create_connection(_TFDS_HOST, timeout=5).close()
    except OSError:
        return True
    return False


def _supervised_keys(builder: Any) -> tuple[str, str]:
    import tensorflow_datasets as tfds

    features = builder.info.features
    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    named = [k for k in builder.info.supervised_keys or () if k in features]
    candidates = [*named, *features]
    keys = [next((k for k in candidates if isinstance(features[k], kind)), None) for kind in kinds]
    if None in keys:
        raise UserError(
            f"config.data.name={builder.name!r}: not images with one label each; it has "
            f"{', '.join(features)}"
        )
    return str(keys[0]), str(keys[1])


def _reader(builder: Any, split: str, image_key: str, label_key: str) -> Read:
    open_once = functools.cache(lambda: _open(builder, split, image_key))
    lock = threading.Lock()  # the cache alone would let every thread open it

    def read(index: np.ndarray) -> tuple[list[Content], np.ndarray]:
        with lock:
            records_of = open_once()
        records = records_of(index.tolist())
        label = np.array([record[label_key] for record in records], np.int32)
        return [record[image_key] for record in records], label

    return read


def _open(builder: Any, split: str, image_key: str) -> Callable[[list[int]], list[dict[str, Any]]]:
    """A function from example numbers to records whose images are still encoded."""
    import tensorflow_datasets as tfds

    decoders = {image_key: tfds.decode.SkipDecoding()}
    try:
        return builder.as_data_source(split=split, decoders=decoders).__getitems__
    except NotImplementedError:  # a format without random access, such as tfrecord: read it all
        try:
            dataset = builder.as_dataset(split=split, decoders=decoders, shuffle_files=False)
            records = list(dataset.as_numpy_iterator())
        except ModuleNotFoundError as error:
            raise _needs_tensorflow(builder.name, error) from error
        return lambda index: [records[i] for i in index]


def _fingerprint(builder: Any) -> str:
    """Names and sizes of the files: enough to notice that a folder was prepared anew."""
    folder = Path(builder.data_dir)
    files = sorted(folder.glob("*")) if folder.is_dir() else []
    return " ".join(f"{f.name}:{f.stat().st_size}" for f in files if "record" in f.name)


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
        with wait_for_lock(root / ".lock"):  # the processes of one machine share the copy
            for folder in folders:
                _copy(dir / dataset / folder, root / dataset / folder)
    except OSError as error:
        message = f"{dir} cannot be copied to {root} ({error.strerror or error})"
        raise UserError(
            f"config.data.dir={dir}: {message}; copy it by hand and give that"
        ) from error
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
        download(folder, unfinished)
        shutil.rmtree(target, ignore_errors=True)
        unfinished.replace(target)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    logger.info("copied (%.1f s)", time.perf_counter() - clock)
