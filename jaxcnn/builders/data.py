"""From a config to the things it names. Besides `run` and `train`, the only reader of configs."""

import inspect
import logging
import os
from collections.abc import Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxcnn.config.choices import (
    abstract_batch,
    augmentation,
    check_augmentation,
    parameters_of,
)
from jaxcnn.config.experiment import is_ours
from jaxcnn.config.keys import chosen, keywords
from jaxcnn.core.augment import compose
from jaxcnn.core.losses import balanced_weights
from jaxcnn.core.models import MODELS
from jaxcnn.core.step import Augment, Loss
from jaxcnn.data.arrays import from_arrays
from jaxcnn.data.cache import choose_mode, decoded_bytes, load_images, survey
from jaxcnn.data.copies import with_copies
from jaxcnn.data.decode import Decoding
from jaxcnn.data.folder import load_unlabelled
from jaxcnn.data.labels import check_twice, name_classes, warn_of_names
from jaxcnn.data.listing import Note, notes
from jaxcnn.data.load import check_bad
from jaxcnn.data.pipeline import SAMPLINGS, Sampling
from jaxcnn.data.source import Dataset, Images, Source, Split, Stream
from jaxcnn.data.splits import (
    check_classes_left,
    check_shapes,
    check_trainable,
    make_dataset,
    usable,
)
from jaxcnn.data.value_range import choose_window, log_window, measure_source
from jaxcnn.errors import UserError
from jaxcnn.files.paths import local

logger = logging.getLogger(__name__)


# What needs images to be streamed: what is done to them, and what to do without.
_STREAMED = {
    "crop_scale": ("cropped", "put resized_crop in augment"),
    "shrink": ("made smaller", "leave it out"),
}


def build_sources(config: ConfigDict, facts: Mapping[str, Any] | None = None) -> dict[str, Source]:
    """The splits of the data set a config names, not yet decoded.

    facts: the content of `dataset.json` of the run that they are for; None for a new run.
    """
    load = chosen(config, "data")
    shared = {name: config.data[name] for name in ("image_size", "channels", "num_classes")}
    accepted = inspect.signature(load).parameters
    required = {p.name for p in accepted.values() if p.default is p.empty}
    given = {name: value for name, value in shared.items() if name in accepted}
    given |= keywords(config, "data")
    for name in required - given.keys():
        raise UserError(
            f"config.data.{name}: source {config.data.source!r} needs it, --config.data.{name}=..."
        )
    for key in {"dir", "manual_dir"} & given.keys():
        if given[key] is not None and (key, config.data.source) != ("dir", "tfds"):
            why = "what is copied from one is TFDS's prepared data (source=tfds, data.dir)"
            local(given[key], f"config.data.{key}", why)
    sources = load(**given)
    if not all(isinstance(source, Source) for source in sources.values()):  # of one's own
        sources = from_arrays(sources, f"config.data.source={config.data.source!r}")
    found, expected = len(sources["train"].class_names), config.data.num_classes
    if expected is not None and expected != found:
        raise UserError(f"config.data.num_classes={expected}: the data have {found} classes")
    named = sources["train"].class_names
    check_twice(f"config.data.source={config.data.source!r}", named)
    # A run knows its classes as they were called when it began.
    if facts is None or not {*named} <= {*facts.get("class_names", ())}:
        folder = Path(given["dir"]).expanduser() if config.data.source == "folder" else None
        named = name_classes(named, config.data.class_names, folder)
    return {role: source._replace(class_names=named) for role, source in sources.items()}


def check_classes_to_train(config: ConfigDict, source: Source) -> None:
    """UserError where there is only one class; that can be evaluated, and not trained."""
    if len(source.class_names) < 2:
        key = "dir" if config.data.get("dir") else "source"
        raise UserError(
            f"config.data.{key}={config.data[key]!r}: only one class ({source.class_names[0]!r}), "
            "and a classifier needs two"
        )


def build_decoding(config: ConfigDict, facts: Mapping[str, Any] | None = None) -> Decoding:
    """How files become pixels. facts: the content of a run's `dataset.json`, whose window is kept
    where the config gives none; None before there is a run.
    """
    decoding = Decoding(**{name: config.data[name] for name in Decoding._fields})
    window = None if facts is None else facts.get("resize", {}).get("window")
    if decoding.window is None and window is not None:
        decoding = decoding._replace(window=window if window == "file" else tuple(window))
    return decoding


def choose_decoding(config: ConfigDict, source: Source, log: bool = True) -> Decoding:
    """How files become pixels in a new run on `source`: with a window that suits what images of
    more than 8 bits hold, where the config gives none. log: whether that is told.
    """
    decoding = build_decoding(config)
    if decoding.window is not None:
        return decoding
    values = measure_source(source, config.data.cache_dir, workers=build_workers(config))
    window = choose_window(values)
    if log:
        log_window(values, window)
    return decoding._replace(window=window)


def build_image_decoding(
    config: ConfigDict, image_shape: tuple[int, int, int], facts: Mapping[str, Any]
) -> Decoding:
    """How any file becomes pixels for a model of `image_shape`; one that is not square takes images
    of its own size only. facts: see `build_decoding`.
    """
    decoding = build_decoding(config, facts)._replace(channels=image_shape[2])
    square = image_shape[0] == image_shape[1]
    return decoding._replace(image_size=image_shape[0]) if square else decoding


def build_dataset(
    config: ConfigDict, device_memory: int | None = None, facts: Mapping[str, Any] | None = None
) -> Dataset:
    """Reads (or finds in the cache) the images a config names, and splits them into roles.

    device_memory: bytes of one accelerator, None without one.
    facts: the content of `dataset.json` of the run that they are for; None for a new run.
    """
    sources, data = build_sources(config, facts), config.data
    _tell_left_out(f"config.data.dir={data.get('dir')!r}", sources["train"])
    if facts is None:
        check_classes_to_train(config, sources["train"])
        warn_of_names(sources["train"].class_names)
    decoding = (
        choose_decoding(config, sources["train"])
        if facts is None
        else build_decoding(config, facts)
    )
    mode = _mode(config, sources, decoding, device_memory)
    load = _stream if mode == "stream" else _load
    images = {role: load(config, source, decoding) for role, source in sources.items()}
    if decoding.channels is None and {part.shape[2] for part in images.values()} == {1, 3}:
        decoding = decoding._replace(channels=3)  # grey in one role and colour in another
        images = {role: load(config, source, decoding) for role, source in sources.items()}
    check_shapes(images)
    bad = tuple(bad for part in images.values() for bad in part.bad)
    check_bad(bad, sum(source.size for source in sources.values()), data.on_bad_image)
    check_classes_left(images["train"], sources["train"].class_names)
    decoding = decoding._replace(channels=images["train"].shape[2])
    dataset = build_splits(config, sources, images)._replace(mode=mode, decoding=decoding)
    if facts is None:
        check_trainable(dataset)
    return dataset


def build_unlabelled(
    config: ConfigDict,
    folder: Path,
    image_shape: tuple[int, int, int],
    facts: Mapping[str, Any],
) -> Split:
    """All images below a folder, however they are sorted, as a model of `image_shape` sees them;
    every label is 0. facts: see `build_decoding`. Raises UserError.
    """
    source, decoding = load_unlabelled(folder), build_image_decoding(config, image_shape, facts)
    _tell_left_out(str(folder), source)
    images = _load(config, source, decoding)
    check_bad(images.bad, source.size, config.data.on_bad_image)
    return Split(images, usable(images), source)


def _tell_left_out(where: str, source: Source) -> None:
    """Logs what lies beside the examples and is none."""
    for note in notes(source.left_out or {}):
        _log_once(f"{where}: {note.what}" + ("" if note.harmless else f"; {note.advice}"), note)


@cache
def _log_once(text: str, note: Note) -> None:
    """A process may read its data many times: for each seed, each trial, each export."""
    logger.log(logging.INFO if note.harmless else logging.WARNING, "%s", text)


def _mode(
    config: ConfigDict, sources: dict[str, Source], decoding: Decoding, device_memory: int | None
) -> str:
    """Where images wait; UserError for options that would do nothing there."""
    data = config.data
    if decoding.crop_fraction != 1 and decoding.image_size is None:
        raise UserError(
            f"config.data.crop_fraction={decoding.crop_fraction}: nothing is resized without an "
            "image size; give --config.data.image_size=N"
        )
    streamed = [key for key in ("crop_scale", "shrink") if data[key] is not None]
    if not streamed and data.mode is not None:
        return data.mode
    if not streamed:
        return choose_mode(decoded_bytes(sources.values(), decoding, data.cache_dir), device_memory)
    if data.mode not in (None, "stream") or decoding.image_size is None:
        wrong = "image_size=None" if data.mode in (None, "stream") else f"mode={data.mode}"
        does, instead = _STREAMED[streamed[0]]
        raise UserError(
            f"config.data.{wrong}: with config.data.{streamed[0]} images are {does} as they come "
            f"from the disk; give mode=stream and an image_size, or {instead}"
        )
    if decoding.shrink is not None and not all(source.cached for source in sources.values()):
        raise UserError(
            f"config.data.shrink={decoding.shrink}: the images of {data.source!r} are pixels "
            "already, which are read as fast as copies would be; leave it out"
        )
    return "stream"


def _load(config: ConfigDict, source: Source, decoding: Decoding) -> Images | Stream:
    limit, workers = config.data.cache_limit_gb * 1e9, build_workers(config)
    return load_images(source, decoding, config.data.cache_dir, limit=limit, workers=workers)


def _stream(config: ConfigDict, source: Source, decoding: Decoding) -> Images | Stream:
    data, workers = config.data, build_workers(config)
    if decoding.shrink is not None:
        limit = data.cache_limit_gb * 1e9
        source = with_copies(source, decoding, data.cache_dir, limit=limit, workers=workers)
    decoding, shape, label, bad = survey(source, decoding, data.cache_dir, workers=workers)
    return Stream(source, decoding, label, shape, bad, data.crop_scale, workers, data.on_bad_image)


def build_workers(config: ConfigDict) -> int:
    """How many threads read and decode."""
    return config.data.num_workers or os.cpu_count() or 1


def build_splits(
    config: ConfigDict, sources: dict[str, Source], images: Mapping[str, Images | Stream]
) -> Dataset:
    """Who sees which of the `images`, read from `sources`, both by role."""
    return make_dataset(
        dict(images),
        sources,
        build_decoding(config),
        holdout=config.data.holdout,
        test_holdout=config.data.test_holdout,
        split_seed=config.data.split_seed,
    )


def build_sampling(config: ConfigDict, split: Split) -> Sampling:
    """Which examples of a split are trained on when."""
    return SAMPLINGS[config.data.sampling](config.seed, split.label)


def build_model(config: ConfigDict, num_classes: int, axis_name: str | None = None) -> nn.Module:
    """The linen module `config.model` names.

    axis_name: the mapped axis BatchNorm averages over under `pmap`; None under `jit`.

    >>> import jaxcnn
    >>> config = jaxcnn.default_config()
    >>> config.model.name = "resnet20_cifar"
    >>> type(jaxcnn.build_model(config, num_classes=10)).__name__
    'CifarResNet'
    """
    make, name = chosen(config, "model"), config.model.name
    own = keywords(config, "model")
    if is_ours(name, MODELS):
        return make(
            num_classes=num_classes, dtype=jnp.dtype(config.dtype), axis_name=axis_name, **own
        )
    takes = parameters_of(make)
    if "dtype" not in takes and config.dtype != "float32":
        raise UserError(f"config.dtype={config.dtype!r}: model {name!r} has no parameter 'dtype'")
    fixed = {"dtype": jnp.dtype(config.dtype), "axis_name": axis_name}
    fixed = {key: value for key, value in fixed.items() if key in takes}
    model = make(num_classes=num_classes, **fixed, **own)
    if not isinstance(model, nn.Module) or "train" not in parameters_of(model.__call__):
        raise UserError(
            f"config.model.name={name!r}: expected a flax.linen module with "
            "__call__(self, x, train=False)"
        )
    return model


def build_augment(
    config: ConfigDict, num_classes: int, image_shape: tuple[int, int, int], batch_size: int
) -> Augment:
    """The augmentation `config.augment` lists, in its order; () changes nothing.

    image_shape: (H, W, C); batch_size: of one device under `pmap`, else of all. Not every operation
      can do with all of them; UserError if one cannot.
    """
    operations = []
    for entry in config.augment:
        function, given = augmentation(entry, config.experiment)
        if "num_classes" in inspect.signature(function).parameters:
            given["num_classes"] = num_classes
        operations.append(partial(function, **given))
        check_augmentation(entry, operations[-1], abstract_batch(batch_size, image_shape))
    return compose(operations)


def build_loss(config: ConfigDict, counts: np.ndarray) -> Loss:
    """The training loss; evaluation reports plain cross-entropy.

    counts: int[K], the training examples of each class.
    """
    weights = config.loss.class_weights
    if weights is not None and config.data.sampling == "balanced":
        logger.warning("balanced sampling and class weights both: rare classes count twice over")
    if weights == "balanced":
        weights = tuple(balanced_weights(counts).tolist())
    elif weights is not None and len(weights) != len(counts):
        raise UserError(
            f"config.loss.class_weights={weights!r}: {len(weights)} numbers for the "
            f"{len(counts)} classes of the data"
        )
    function, name = chosen(config, "loss"), config.loss.name
    given = {"label_smoothing": config.loss.label_smoothing, "class_weights": weights}
    for key in given.keys() - parameters_of(function).keys():
        if given.pop(key):
            raise UserError(f"config.loss.{key}: loss {name!r} has no parameter {key!r}")
    return partial(function, **given, **keywords(config, "loss"))
