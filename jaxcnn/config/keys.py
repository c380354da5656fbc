"""The config of a run: its defaults, its checks, and what may differ when a run is resumed.

A config file is a Python file with a function `get_config()` that starts from `default_config()`.
`resolve` turns what it returns, with the command line's overrides, into a config without mistakes.
"""

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from jaxcnn.config.choices import CHOICES, resolve_choice
from jaxcnn.config.durations import DURATIONS, UNITS, resolve_durations
from jaxcnn.config.experiment import load_experiment, source_of
from jaxcnn.config.typecheck import describe, matches
from jaxcnn.config.values import check_values
from jaxcnn.errors import UserError, nearest
from jaxcnn.files.paths import as_path
from jaxcnn.files.rundir import CONFIG, EXPERIMENT, write_text

# Keys that do not change what is trained, so that they may differ when a run is resumed. (How often
# checkpoints are written does decide which one can be the best.)
FREE_ON_RESUME = (
    "parallel.",
    "log_every_",
    "checkpoint_",
    "data.dir",
    "data.manual_dir",
    "data.cache_",
    "data.mode",
    "data.num_workers",
    "report.",
    "max_skipped",
    "experiment",
)

# Seconds between writes of checkpoints, of which the two of a small state take 0.1 s of a core.
_GAP = 2.0


def default_config() -> ConfigDict:
    """All keys with their defaults. `data`, `model`, `optimizer`, `schedule` and `loss` also
    take the keywords of what `data.source`, `model.name`, ... choose; one set to None is not given.
    """
    config = ConfigDict()
    config.auto = False  # choose what is left open by looking at the data and the device
    config.experiment = ""  # the file that defines what jaxcnn does not; --config sets it
    config.seed = 0
    config.batch_size = 128  # of all devices together
    config.dtype = "float32"  # of the computation, or "bfloat16"; parameters stay float32
    config.on_nonfinite = "stop"  # or "skip": leave out an update with a NaN or an infinity
    config.max_skipped = 10  # in a row, before the run stops
    config.best_metric = "accuracy"  # on validation: which checkpoint is the best

    # From one write of checkpoints to the next; those between wait in memory, where a kill loses
    # them. None: 0, each at once, where a checkpoint_every_* is given, else 2.
    config.checkpoint_gap_seconds = placeholder(float)

    config.data = ConfigDict({"source": "digits"})
    config.data.image_size = placeholder(int)  # pixels; None: the images' own
    config.data.channels = placeholder(int)  # 1 or 3; None: the images' own
    config.data.num_classes = placeholder(int)  # an error if the data have another number
    config.data.holdout = 0.1  # validation's share of train, where there is no validation split
    config.data.test_holdout = 0.2  # test's share, where there is no test split
    config.data.split_seed = 0
    config.data.sampling = "shuffle"  # or "balanced": every class as often as every other
    config.data.on_bad_image = "error"  # or "skip": train without images that cannot be decoded
    config.data.background = (255, 255, 255)  # RGB under transparent pixels
    config.data.window = placeholder(tuple)  # (low, high) of images with more than 8 bits
    config.data.mean = placeholder(tuple)  # of each channel over 0..1, to normalise with; and
    config.data.std = placeholder(tuple)  # standard deviation; None: both measured from train
    config.data.crop_fraction = 1.0  # share of the resized image that the centre crop keeps
    config.data.crop_scale = placeholder(tuple)  # (0.08, 1.0): train on random crops of the files
    config.data.shrink = placeholder(int)  # 2: stream copies of large photos, twice image_size
    config.data.mode = placeholder(str)  # memory, device or stream; None: by size
    config.data.num_workers = placeholder(int)  # decoding threads; None: one a core
    config.data.cache_dir = placeholder(str)  # of decoded images; None: ~/.cache/jaxcnn/data
    config.data.cache_limit_gb = 50.0  # what was used longest ago is removed above that

    config.model = ConfigDict({"name": "cnn"})
    config.pretrained = ConfigDict({"path": ""})  # trained weights, or the directory of a run
    config.pretrained.head = placeholder(bool)  # take the classifier; None: where it fits
    config.pretrained.names = ()  # (pattern of their layers' names, our path), before the known
    config.pretrained.ignore = ()  # patterns of tensors that may be left out
    config.optimizer = ConfigDict({"name": "adamw", "learning_rate": 1e-3, "weight_decay": 0.0})
    config.optimizer.decay_biases = False  # True: weight decay for biases and norms, too
    config.optimizer.clip_norm = placeholder(float)  # largest global norm of the gradient
    config.optimizer.clip_value = placeholder(float)  # largest absolute value of the gradient
    config.optimizer.clip_adaptive = placeholder(float)  # 0.01: of a unit's weights (AGC)
    config.optimizer.lookahead_steps = placeholder(int)  # 5: updates between slow steps
    config.optimizer.lookahead_share = 0.5  # of the way that a slow step goes
    config.optimizer.accumulate = 1  # steps whose gradients make one update
    config.optimizer.rules = ()  # (pattern, {what differs}): docs/guides/training.md
    config.optimizer.layer_decay = placeholder(float)  # of the learning rate, from stage to stage
    config.schedule = ConfigDict({"name": "cosine"})
    config.ema = ConfigDict({"kind": "exponential"})  # or "equal" (SWA), "rising": of params, stats
    config.ema.decay = placeholder(float)  # 0.999: evaluate the exponential average; None: none
    config.ema.every = 1  # steps from one value that is averaged to the next
    config.ema.lookahead = False  # go on from each new average, which is what is evaluated
    config.loss = ConfigDict({"name": "cross_entropy"})  # or focal
    config.loss.label_smoothing = 0.0  # share of the target spread over all classes
    config.loss.class_weights = placeholder(object)  # "balanced", or a number for each class
    config.augment = ()  # names or (name, number | {keyword: value}), in order
    config.parallel = ConfigDict({"mode": "jit"})  # or "pmap"
    config.parallel.fsdp = 1  # devices that share one copy of parameters and optimiser state
    config.parallel.population = placeholder(bool)  # several seeds or trials in one program
    config.parallel.steps_per_dispatch = placeholder(int)  # None: 1 on a CPU, else 16 if possible
    config.parallel.native = placeholder(bool)  # convolutions in C++: None: on one CPU, if possible

    # With a patience_epochs (steps, examples): stop where best_metric has not improved for so long.
    config.early_stop = ConfigDict({"min_delta": 0.0})  # what an improvement has to exceed

    config.report = ConfigDict({"at_end": True})  # make report/ when training ends
    config.report.resamples = 1000  # of the test data, for 95 % intervals
    config.report.temperature = False  # fit one on validation, and keep it with the model
    config.report.tta = ()  # "shift", "flip": average over these views, beside the plain result
    config.report.occlusion = False  # maps of what matters, patch by patch
    config.report.projection = placeholder(str)  # "pca" or "tsne": a map of the test images
    config.report.corruptions = False  # accuracy under 15 corruptions of 5 severities
    config.report.attack = placeholder(str)  # "fgsm" or "pgd": accuracy under attack
    config.report.epsilon = 2.0  # what an attack may change in a pixel's value of 0..255
    config.report.outliers = placeholder(str)  # a folder of other images, to tell from the test's
    config.report.histograms = False  # parameters and gradients, to TensorBoard in training

    for name in DURATIONS:
        for unit in UNITS:
            _set(config, f"{name}_{unit}", placeholder(float if unit == "epochs" else int))
    return config


def resolve(config: ConfigDict, overrides: Collection[str] = ()) -> ConfigDict:
    """Checks a config and returns a locked copy without contradictions; raises UserError.

    overrides: dotted names given on the command line. They replace what the file says in other
      words: `num_steps` the file's `num_epochs`; and with another `model.name` the file's `model.*`
      which that model does not take are dropped (likewise data, optimizer and schedule).

    >>> import jaxcnn
    >>> config = jaxcnn.default_config()
    >>> config.num_epochs = 3
    >>> jaxcnn.resolve(config).checkpoint_every_epochs
    1.0
    """
    values = flatten(config)
    known = flatten(default_config())
    check_known(values)
    if values.get("checkpoint_gap_seconds") is None:
        asked = any(values.get(f"checkpoint_every_{unit}") is not None for unit in UNITS)
        values["checkpoint_gap_seconds"] = 0.0 if asked else _GAP
    resolve_durations(values, overrides)
    for choice in CHOICES.values():
        values.setdefault(choice.key, known[choice.key])
        resolve_choice(values, choice, known.keys(), overrides)
    values = known | values
    _check_types(values, known)
    check_values(values)
    resolved = default_config()
    for key, value in values.items():
        _set(resolved, key, value)
    return resolved.lock()


def check_known(keys: Iterable[str]) -> None:
    """UserError for a dotted name that no config has; keywords of a choice are not judged here."""
    known = flatten(default_config())
    parts = tuple(f"{part}." for part in CHOICES)
    for key in keys:
        if key not in known and not key.startswith(parts):
            raise UserError(f"config.{key}: no such key{nearest(key, known)}")


def chosen(config: ConfigDict, part: str) -> Callable[..., Any]:
    """The class or function that the name in `config.<part>` stands for."""
    choice = CHOICES[part]
    return choice.find(config[part][choice.chooser], config.experiment)


def keywords(config: ConfigDict, part: str) -> dict[str, Any]:
    """The keywords in `config.<part>` for what its name chose, as `{keyword: value}`."""
    choice = CHOICES[part]
    values = flatten(config[part])
    known = choice.keywords(values[choice.chooser], config.experiment)
    return {key: values[key] for key in known if values.get(key) is not None}


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"a.b": value} for every leaf; lists become tuples."""
    flat: dict[str, Any] = {}
    for key in config:
        value = config[key]
        if isinstance(value, Mapping | ConfigDict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = _tuples(value)
    return flat


def unflatten(values: Mapping[str, Any]) -> ConfigDict:
    """The opposite of `flatten`, without checks; for `resolve`."""
    nested: dict[str, Any] = {}
    for key, value in values.items():
        *parts, leaf = key.split(".")
        part = nested
        for name in parts:
            part = part.setdefault(name, {})
        part[leaf] = value
    return ConfigDict(nested)


def differences(old: ConfigDict, new: ConfigDict) -> dict[str, tuple[Any, Any]]:
    """{key: (old value, new value)} for all keys that differ, but for where the experiment is."""
    before, after = flatten(old), flatten(new)
    keys = sorted((before.keys() | after.keys()) - {"experiment"})
    return {k: (before.get(k), after.get(k)) for k in keys if before.get(k) != after.get(k)}


def to_json(config: ConfigDict) -> str:
    """A resolved config as JSON; `load_config` reads it back."""
    return json.dumps(config.to_dict(), indent=2) + "\n"


def load_config(path: str | Path) -> ConfigDict:
    """Reads a config; raises UserError.

    path: a recipe's name or an experiment file, whose get_config() is called; or the `config.json`
      of a run, which comes resolved. What the run's own experiment file defines is executed.

    >>> import jaxcnn
    >>> jaxcnn.load_config("digits").model.name
    'cnn'
    >>> jaxcnn.load_config("runs/digits/config.json").data.source
    'digits'
    """
    if not os.fspath(path).endswith(".json"):
        return load_experiment(os.fspath(path))
    path = as_path(path)
    try:
        content = json.loads(path.read_text())
        if not isinstance(content, dict):
            raise ValueError(f"it holds {content!r}")
        if content.get("experiment"):
            content["experiment"] = os.fspath(path.parent / EXPERIMENT)
        return resolve(ConfigDict(content))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not the config of a run ({error})") from error


def save_config(config: ConfigDict, workdir: Path) -> None:
    """Writes a resolved config into a run directory, with its experiment file if it has one."""
    if config.experiment:
        write_text(workdir / EXPERIMENT, source_of(config.experiment))
        config = config.copy_and_resolve_references()
        with config.unlocked():
            config.experiment = EXPERIMENT
    write_text(workdir / CONFIG, to_json(config))


def _check_types(values: Mapping[str, Any], known: Mapping[str, Any]) -> None:
    template = default_config()
    for key, default in known.items():
        *parts, leaf = key.split(".")
        part = template
        for name in parts:
            part = part[name]
        if values[key] is None and default is None:
            continue
        if not matches(values[key], part.get_type(leaf)):
            raise UserError(
                f"config.{key}={values[key]!r}: expected {describe(part.get_type(leaf))}"
            )


def _tuples(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, Mapping | ConfigDict):
        return {key: _tuples(value[key]) for key in value}
    return value


def _set(config: ConfigDict, key: str, value: Any) -> None:
    *parts, leaf = key.split(".")
    for part in parts:
        config = config[part]
    config[leaf] = value
