"""TensorFlow Datasets, read at random and without TensorFlow where the format allows it."""

import functools
import logging
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.data.bucket import copy_prepared
from jaxcnn.data.source import Content, Read, Source
from jaxcnn.errors import UserError, nearest
from jaxcnn.files.locks import held
from jaxcnn.files.paths import as_path, in_bucket

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
      address in a bucket: see `jaxcnn.data.bucket`.
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
        builder = tfds.builder(name, data_dir=dir)  # finds whatever format is there
        if builder.is_prepared():
            return builder
        builder = tfds.builder(name, data_dir=dir, file_format="array_record")
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


def _prepare(builder: Any, name: str, dir: str | None, manual_dir: str | None) -> Any:
    import tensorflow_datasets as tfds

    where = f"{name} is not prepared in {Path(builder.data_dir)}"
    how = (
        "give --config.data.dir=FOLDER where it is prepared, or --config.data.manual_dir=FOLDER "
        "with its original files"
    )
    if manual_dir is not None and not Path(manual_dir).is_dir():
        raise UserError(f"config.data.manual_dir={manual_dir!r}: no such folder")
    if manual_dir is None and _offline():
        raise UserError(f"{where}, and there is no network to download it: {how}")
    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    try:
        with _alone(Path(builder.data_dir)):
            # Another process may have prepared it meanwhile; a builder looks only when it is made.
            if (found := tfds.builder(name, data_dir=dir)).is_prepared():
                return found
            logger.info("preparing %s in %s, once", name, builder.data_dir)
            builder.download_and_prepare(
                download_config=tfds.download.DownloadConfig(manual_dir=manual_dir)
            )
    except Exception as error:  # TFDS and its builders raise anything
        if "tensorflow" in str(error) and "No module" in str(error):
            raise _needs_tensorflow(name, error) from error
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{where}, and preparing it failed ({reason}): {how}") from error
    return builder


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Waits until no other process prepares this folder: two of TFDS break each other's files."""
    with ExitStack() as stack:
        with suppress(OSError):  # what cannot be written is told by whoever prepares
            folder.parent.mkdir(parents=True, exist_ok=True)
            stack.enter_context(held(folder.with_name(f".{folder.name}.lock")))
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
