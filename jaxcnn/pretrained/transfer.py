"""The trained weights a run begins with, as `config.pretrained` names them.

They are looked at once: a run that is resumed goes on with its own.
"""

import hashlib
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxcnn.builders.data import build_model
from jaxcnn.core.models import MODELS
from jaxcnn.errors import UserError
from jaxcnn.files.folders import local_file
from jaxcnn.files.paths import as_path
from jaxcnn.files.rundir import CHECKPOINTS, PRETRAINED, write_json
from jaxcnn.inference.trained import load_trained, run_config
from jaxcnn.pretrained.convert import named_arrays
from jaxcnn.pretrained.load import Loaded, load_tensors, load_variables
from jaxcnn.pretrained.names import KERAS, TORCH, Rules
from jaxcnn.pretrained.read import check_format, read_weights

logger = logging.getLogger(__name__)

PyTree = Any


def check_pretrained(config: ConfigDict) -> None:
    """UserError where `config.pretrained.path` is nothing to read; before the data are loaded."""
    if config.pretrained.path:
        with _named(config.pretrained.path) as path:
            run_config(path) if path.is_dir() else check_format(path)


def load_pretrained(
    config: ConfigDict,
    num_classes: int,
    image_shape: tuple[int, int, int],
    fresh: dict[str, PyTree],
    class_names: Sequence[str] | None = None,
) -> tuple[dict[str, PyTree], dict[str, Any] | None]:
    """The variables a run begins with, and the content of `pretrained.json`; (fresh, None) where
    the config names no weights.

    fresh: {"params": ..., "batch_stats": ...} as they were drawn.
    class_names: a classifier for as many other classes is not taken unless it is asked for.
    Raises UserError.
    """
    options = config.pretrained
    if not options.path:
        return fresh, None
    checks: dict[str, Any] = {
        "head": head_arrays(config, num_classes, image_shape),
        "take_head": options.head,
        "channels": image_shape[2],
    }
    with _named(options.path) as path:
        if path.is_dir():
            trained = load_trained(path)
            other = class_names is not None and tuple(class_names) != tuple(trained.class_names)
            loaded = load_variables(trained.variables, fresh, **checks, other_classes=other)
            source = path / CHECKPOINTS / f"{trained.step}.sha256"  # of all files of it
            facts = {key: trained.facts[key] for key in ("mean", "std")}
        else:
            source, facts = path, {}
            rules = (*options.names, *rules_of(config.model.name, path))
            loaded = load_tensors(read_weights(path), rules, fresh, ignore=options.ignore, **checks)
    origin = _origin(options.path, source, loaded) | facts
    _tell(config, origin, loaded)
    return loaded.variables, origin


def keep_origin(workdir: Path, origin: dict[str, Any] | None) -> None:
    """Writes where a run's first weights are from, for good, into its directory."""
    if origin is not None:
        write_json(workdir / PRETRAINED, origin)
    else:  # of an earlier start that came to nothing
        (workdir / PRETRAINED).unlink(missing_ok=True)


def rules_of(model: str, path: Path) -> Rules:
    """Returns what a file calls the layers of a model in MODELS; () where that is not known.

    Rules are found by the model's name, or by its family, which is the name of its module.
    """
    if model not in MODELS:  # it is the user's own
        return ()
    make = MODELS[model]
    family = getattr(make, "func", make).__module__.rpartition(".")[2]
    rules = KERAS if path.suffix.lower() == ".h5" else TORCH
    return rules.get(model, rules.get(family, ()))


def head_arrays(
    config: ConfigDict, num_classes: int, image_shape: tuple[int, int, int]
) -> set[str]:
    """The names of the arrays whose shapes follow from the number of classes."""

    def shapes(classes: int) -> dict[str, tuple[int, ...]]:
        init = partial(build_model(config, classes).init, train=False)
        image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
        variables = jax.eval_shape(init, jax.random.key(0), image)
        return {name: array.shape for name, array in named_arrays(variables).items()}

    one_more = shapes(num_classes + 1)
    return {name for name, shape in shapes(num_classes).items() if shape != one_more[name]}


def _origin(path: str, source: Path, loaded: Loaded) -> dict[str, Any]:
    with source.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "path": path,
        "file": source.name,
        "sha256": sha256,
        "taken": {ours: theirs for theirs, ours in loaded.taken},
        "new": loaded.new,
        "ignored": loaded.ignored,
    }


def _tell(config: ConfigDict, origin: dict[str, Any], loaded: Loaded) -> None:
    logger.info("%s", loaded)
    logger.info(
        "weights of %s (sha256 %s): %d arrays taken, %d new, %d tensors ignored",
        origin["path"],
        origin["sha256"],
        len(loaded.taken),
        len(loaded.new),
        len(loaded.ignored),
    )
    if config.data.mean is not None:
        return
    if "mean" in origin:
        mean, std = ('"(' + ",".join(map(repr, origin[k])) + ',)"' for k in ("mean", "std"))
        logger.info(
            "they were trained with --config.data.mean=%s --config.data.std=%s; here both are "
            "measured",
            mean,
            std,
        )
    else:
        logger.warning(
            "config.data.mean and .std are measured from the images; give those that the weights "
            "were trained with (torchvision's on ImageNet: 0.485,0.456,0.406 and 0.229,0.224,0.225)"
        )


@contextmanager
def _named(text: str) -> Iterator[Path]:
    """The path; the config's key is put before what a UserError says of it."""
    path = as_path(text)
    try:
        if path.is_dir():
            yield path
        else:
            with local_file(path) as file:
                yield file
    except FileNotFoundError as error:  # in a bucket
        raise UserError(f"config.pretrained.path={text}: no such file") from error
    except UserError as error:
        reason = str(error).removeprefix("--workdir=")
        reason = reason if reason.startswith(str(path)) else f"{text}: {reason}"
        raise UserError(f"config.pretrained.path={reason}") from error
