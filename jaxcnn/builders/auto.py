"""What `config.auto` chooses: a recipe that suits the data and the device.

The choices for CPUs come from runs on 2 cores (see experiments/folder.py); those for accelerators
are the usual ones of the field, and not measured.
"""

import logging
from collections.abc import Collection
from itertools import starmap
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from ml_collections import ConfigDict

from jaxcnn.builders.data import build_sources, choose_decoding
from jaxcnn.config.keys import default_config, flatten, load_config, resolve, unflatten
from jaxcnn.data.decode import decode
from jaxcnn.data.load import require_content
from jaxcnn.files.rundir import CONFIG, has_run

logger = logging.getLogger(__name__)

# How many images of 64x64 pixels the CPU's net learns from in four minutes (experiments/folder.py).
_CPU_IMAGES = 95_000
# What comes with keywords of its own: chosen with them, or not at all.
_NAMES = ("model.name", "optimizer.name", "schedule.name")


class Looks(NamedTuple):
    """The looks of a data set.

    num_train: images to train on, before any is held out of them. shape: (height, width) of the
    median image. one_size: all have that. grey: none has colours, whatever its channels.
    """

    num_train: int
    num_classes: int
    shape: tuple[int, int]
    one_size: bool
    grey: bool


def prepare(
    config: ConfigDict, overrides: Collection[str] = (), workdir: Path | None = None
) -> ConfigDict:
    """Resolves a config; with `auto`, what it leaves open is chosen first. Raises UserError.

    overrides: keys given on the command line. They, and what the file sets to anything but the
      default, stay as they are.
    workdir: where a run may have begun already; it goes on with what was chosen then.
    """
    values = flatten(config)
    if not values.get("auto"):
        return resolve(config, overrides)
    values["auto"] = False
    defaults = flatten(default_config())
    kept = {*overrides, *(k for k, v in values.items() if v is not None and v != defaults.get(k))}
    looks = look_at(resolve(unflatten(values | _any_length(values)), overrides))
    image_size = values.get("data.image_size")
    chosen = choose(looks, jax.default_backend(), image_size)
    begun = workdir is not None and has_run(workdir)
    if workdir is not None and begun:
        previous = flatten(load_config(workdir / CONFIG))
        # It may have begun on another device.
        keys = {*choose(looks, "cpu", image_size), *choose(looks, "gpu", image_size)}
        chosen = {key: previous[key] for key in keys & previous.keys()}
    chosen = {key: value for key, value in chosen.items() if _is_open(key, kept)}
    if not begun:
        message = " ".join(starmap(_flag, chosen.items()))
        logger.info("chosen for %s: %s", _describe(looks), message)
    return resolve(unflatten(values | chosen), overrides)


def look_at(config: ConfigDict) -> Looks:
    """Decodes a hundred training images of a resolved config's data, without those that cannot be
    decoded: loading and checking name them.
    """
    source = build_sources(config)["train"]
    how = choose_decoding(config, source, log=False)._replace(image_size=None, channels=None)
    seen = []
    for i in np.unique(np.linspace(0, source.size - 1, num=100, dtype=int)):
        (content,), _ = source.read(np.array([i]))
        try:
            image = decode(require_content(content), how)
        except ValueError:
            continue
        # JPEG may store grey as colours that differ by rounding.
        grey = image.shape[2] == 1 or int(np.ptp(image, axis=2).max()) <= 4
        seen.append((*image.shape[:2], grey))
    heights, widths, greys = np.array(seen or [(64, 64, False)]).T
    return Looks(
        num_train=source.size,
        num_classes=len(source.class_names),
        shape=(int(np.median(heights)), int(np.median(widths))),
        one_size=len(set(heights)) == len(set(widths)) == 1,
        grey=bool(greys.all()),
    )


def choose(looks: Looks, platform: str, image_size: int | None = None) -> dict[str, Any]:
    """Returns {key of the config: value} for data like these on a "cpu", "gpu" or "tpu".

    image_size: in pixels, where that is decided already.
    """
    return (_for_cpu if platform == "cpu" else _for_accelerator)(looks, image_size) | {
        "data.channels": 1 if looks.grey else 3,
        "loss.label_smoothing": 0.1,
        "optimizer.name": "sgd",
        "optimizer.momentum": 0.9,
        "optimizer.nesterov": True,
        "optimizer.weight_decay": 5e-4,
    }


def _for_cpu(looks: Looks, image_size: int | None) -> dict[str, Any]:
    """Chooses a small net on small images, for minutes."""
    size = image_size or max(8, min(*looks.shape, 64 if looks.num_train < 20_000 else 32))
    stages = max(1, min(4, int(np.log2(size / 4))))
    widths = (32, 64, 128, 256) if size > 32 else (64, 128, 256)
    strided = size >= 16  # below, no pixel is to spare
    images = _CPU_IMAGES / max(1, (size / 64) ** 2)
    return {
        "data.image_size": size,
        "batch_size": _batch_size(looks, 64),
        "num_epochs": float(np.clip(round(images / looks.num_train), 6, 60)),
        "model.name": "cnn",
        "model.filters": widths[:stages] if strided else (64, 128)[:stages],
        "model.pool": "none" if strided else "max",
        "model.strides": 2 if strided else 1,
        "optimizer.learning_rate": 0.1,
        "schedule.name": "triangular",
        "augment": _augmentation(looks, size),
    }


def _for_accelerator(looks: Looks, image_size: int | None) -> dict[str, Any]:
    """Chooses a ResNet-18 on images of up to 224 pixels. Not measured."""
    side = min(looks.shape)
    size = image_size or (min(side // 32 * 32, 224) if side > 64 else max(8, side))
    return {
        "data.image_size": size,
        "batch_size": _batch_size(looks, 256),
        "num_epochs": float(np.clip(round(2_000_000 / looks.num_train), 20, 100)),
        "dtype": "bfloat16",
        "model.name": "resnet18",
        "model.stem": "cifar" if size <= 64 else "imagenet",
        "optimizer.learning_rate": 0.1,
        "schedule.name": "cosine",
        "schedule.warmup_epochs": 2.0,
        "augment": _augmentation(looks, size),
    }


def _batch_size(looks: Looks, at_most: int) -> int:
    """Returns a power of two with which an epoch has about twenty steps or more."""
    return int(np.clip(2 ** int(np.log2(looks.num_train / 20 + 1)), 8, at_most))


def _augmentation(looks: Looks, size: int) -> tuple[Any, ...]:
    """Mirrors colour photographs and changes their light; grey images (digits, X-rays) are only
    shifted.
    """
    if looks.grey or size < 32:
        return (("crop", max(1, size // 8)),)
    crop = ("resized_crop", {"scale": (0.35, 1.0)})
    return (crop, "flip", ("brightness", 0.2), ("saturation", 0.3))


def _any_length(values: dict[str, Any]) -> dict[str, Any]:
    """Returns a length for `resolve`, which wants one, where none is given yet."""
    lengths = ("num_epochs", "num_steps", "num_examples")
    return {} if any(values.get(key) is not None for key in lengths) else {"num_epochs": 1}


def _is_open(key: str, kept: Collection[str]) -> bool:
    """Whether nobody has set `key`, nor chosen what it is a keyword of."""
    part = key.split(".")[0]
    if f"{part}.name" in _NAMES and f"{part}.name" in kept:
        return False
    if key.startswith("num_") and any(k.startswith("num_") for k in kept):
        return False
    return key not in kept


def _flag(key: str, value: Any) -> str:
    """Returns a choice as a flag, to copy and change."""
    quote = '"' if isinstance(value, tuple) else ""
    return f"--config.{key}={quote}{value}{quote}"


def _describe(looks: Looks) -> str:
    size = ("" if looks.one_size else "about ") + "x".join(map(str, looks.shape))
    images = f"{looks.num_train:,} {'grey' if looks.grey else 'colour'} images"
    return f"{images} of {size} pixels in {looks.num_classes} classes"
