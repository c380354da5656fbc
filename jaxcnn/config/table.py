"""The table of keys: what a config may say, with defaults, notes and ranges.

Defaults, types, the checks of single values, what may differ when a run is resumed, --help and the
reference of the documentation are all made from it.
"""

import math
import re
import types
import typing
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from jaxcnn.analysis.features import PROJECTIONS
from jaxcnn.config.durations import DURATIONS, UNITS
from jaxcnn.core.attacks import ATTACKS
from jaxcnn.core.average import AVERAGES
from jaxcnn.core.step_wrappers import ON_NONFINITE
from jaxcnn.core.views import VIEWS
from jaxcnn.data.cache import MODES
from jaxcnn.data.pipeline import SAMPLINGS

_NAMES = {int: "a whole number", float: "a number", str: "a name", bool: "True or False"}
_PLURALS = {int: "whole numbers", float: "numbers", str: "names"}


def matches(value: Any, hint: Any) -> bool:
    """Whether a value fits a type hint: exact for numbers, names, tuples and unions of them; a hint
    that says more than that (a protocol, an array type) is not judged.
    """
    arguments = typing.get_args(hint)
    if is_union(hint):
        return any(matches(value, argument) for argument in arguments)
    if is_tuple(hint):
        inner = arguments[0] if arguments else Any
        return isinstance(value, tuple) and all(matches(item, inner) for item in value)
    if hint is None:
        return value is None
    if hint in (int, float) and isinstance(value, bool):
        return False
    if hint is float:
        return isinstance(value, int | float)
    if isinstance(hint, type) and not typing.is_typeddict(hint):
        try:
            return isinstance(value, hint)
        except TypeError:  # a protocol without runtime checks
            return True
    return True


def describe(hint: Any) -> str:
    """Returns what `matches` accepts, in words."""
    arguments = typing.get_args(hint)
    if is_union(hint):
        if float in arguments:  # which takes whole numbers, and Optax's hints list all there is
            return _NAMES[float]
        named = [_NAMES.get(a) or describe(a) for a in arguments if a in _NAMES or is_tuple(a)]
        return " or ".join(dict.fromkeys(named)) or str(hint)
    if is_tuple(hint):
        return f"a tuple of {_PLURALS.get(arguments[0], 'values')}" if arguments else "a tuple"
    return _NAMES.get(hint, str(hint))


def is_union(hint: Any) -> bool:
    """Whether a hint is a union of others."""
    return typing.get_origin(hint) in (typing.Union, types.UnionType)


def is_tuple(hint: Any) -> bool:
    """Whether a hint is of tuples."""
    return hint is tuple or typing.get_origin(hint) is tuple


class Range(NamedTuple):
    """Values that a key allows: in words, and as a test."""

    words: str
    holds: Callable[[Any], bool]


class Key(NamedTuple):
    """A key of the config.

    default: a type stands for None, which values of that type may replace.
    type: what values are instances of, None aside.
    allows: a range, or the names that are allowed; None for any of its type, and where
      `check_values` judges it together with other keys.
    free: whether it may differ when a run is resumed, as it does not change what is trained. (How
      often checkpoints are written does decide which one can be the best.)
    """

    default: Any
    note: str
    allows: Range | Collection[str] | None = None
    free: bool = False

    @property
    def type(self) -> type:
        return self.default if isinstance(self.default, type) else type(self.default)


def _is_pair(value: Any) -> bool:
    return matches(value, tuple[float, ...]) and len(value) == 2 and value[0] <= value[1]


def _is_weights(value: Any) -> bool:
    numbers = matches(value, tuple[float, ...]) and any(value)
    return value == "balanced" or (numbers and all(0 <= weight < math.inf for weight in value))


def _is_pattern(value: Any) -> bool:
    try:
        return isinstance(value, str) and bool(re.compile(value))
    except re.error:
        return False


FREE = True
ABOVE_ZERO = Range("a number above 0", lambda value: 0 < value < math.inf)
FROM_ZERO = Range("a number from 0", lambda value: 0 <= value < math.inf)
SECONDS = Range("a number from 0", lambda value: value >= 0)  # inf: only the first and the last
SHARE = Range("a share from 0 to below 1", lambda value: 0 <= value < 1)
UP_TO_ONE = Range("a share above 0, up to 1", lambda value: 0 < value <= 1)
SEED = Range("a whole number from 0 to 2**32 - 1", lambda value: 0 <= value < 2**32)
CHANNELS = Range("1 or 3", lambda value: value in (1, 3))
COLOUR = Range(
    "(red, green, blue), whole numbers from 0 to 255",
    lambda value: len(value) == 3 and all(matches(c, int) and 0 <= c <= 255 for c in value),
)
NAMES = Range(
    "a tuple of names, or the path of a file of them",
    lambda value: bool(value) and matches(value, str | tuple[str, ...]),
)
WINDOW = Range(
    "(low, high), two numbers, low below high, or 'file'",
    lambda value: value == "file" or (_is_pair(value) and value[0] < value[1]),
)
AREAS = Range(
    "(least, largest), two shares of the area above 0, up to 1",
    lambda value: _is_pair(value) and value[0] > 0 and value[1] <= 1,
)
MEAN = Range(
    "a tuple of numbers, one for each channel",
    lambda value: matches(value, tuple[float, ...]) and all(map(math.isfinite, value)),
)
STD = Range(
    "a tuple of numbers above 0, one for each channel",
    lambda value: matches(value, tuple[float, ...]) and all(0 < s < math.inf for s in value),
)
RENAMES = Range(
    "pairs (regular expression, our path): ((r'fc', 'head'),)",
    lambda value: all(
        matches(pair, tuple[str, ...]) and len(pair) == 2 and _is_pattern(pair[0]) for pair in value
    ),
)
PATTERNS = Range("a tuple of regular expressions", lambda value: all(map(_is_pattern, value)))
WEIGHTS = Range("'balanced' or a tuple of numbers from 0, one for each class", _is_weights)
BEST_METRICS = ("accuracy", "loss", "f1_macro", "precision_macro", "recall_macro")

# fmt: off
KEYS: dict[str, Key] = {
    "auto": Key(False, "choose what is left open by looking at the data and the device"),
    "experiment": Key("", "the file that defines what jaxcnn does not; --config sets it", None,
        FREE),
    "seed": Key(0, "of the first parameters, batches, augmentation and dropout", SEED),
    "batch_size": Key(128, "of all devices together", ABOVE_ZERO),
    "dtype": Key("float32", "of the computation, or 'bfloat16'; parameters stay float32",
        ("float32", "bfloat16")),
    "on_nonfinite": Key("stop", "or 'skip': leave out an update with a NaN or an infinity",
        ON_NONFINITE),
    "max_skipped": Key(10, "updates left out in a row, before the run stops", ABOVE_ZERO, FREE),
    "best_metric": Key("accuracy", "on validation: which checkpoint is the best", BEST_METRICS),
    "checkpoint_gap_seconds": Key(float,
        "least time between writes; None: 2, or 0 with a checkpoint_every_*", SECONDS, FREE),
    "data.source": Key("digits",
        "where images come from: digits, folder, csv, arrays, tfds, synthetic, or your own"),
    "data.image_size": Key(int, "pixels; None: the images' own", ABOVE_ZERO),
    "data.channels": Key(int, "1 or 3; None: the images' own", CHANNELS),
    "data.num_classes": Key(int, "an error if the data have another number"),
    "data.class_names": Key(object, "of numbered classes, in order, or a file of them; None: a "
        "classes.txt, labels.csv, ... beside folders that are numbers", NAMES),
    "data.holdout": Key(0.1, "validation's share of train, where there is no validation split",
        SHARE),
    "data.test_holdout": Key(0.2, "test's share, where there is no test split", SHARE),
    "data.split_seed": Key(0, "of the examples that are held out; another gives other splits",
        SEED),
    "data.sampling": Key("shuffle", "or 'balanced': every class as often as every other",
        SAMPLINGS),
    "data.on_bad_image": Key("error", "or 'skip': train without images that cannot be decoded",
        ("error", "skip")),
    "data.background": Key((255, 255, 255), "RGB under transparent pixels", COLOUR),
    "data.window": Key(object, "(low, high) of images with more than 8 bits, or 'file', each one's "
        "own (DICOM); None: by what they hold", WINDOW),
    "data.mean": Key(tuple,
        "mean of each channel over 0..1, to normalise with; None: measured from train", MEAN),
    "data.std": Key(tuple, "standard deviation of each channel; None: measured from train", STD),
    "data.crop_fraction": Key(1.0, "share of the resized image that the centre crop keeps",
        UP_TO_ONE),
    "data.crop_scale": Key(tuple, "(0.08, 1.0): train on random crops of the files", AREAS),
    "data.shrink": Key(int, "2: stream copies of large photos, twice image_size", ABOVE_ZERO),
    "data.mode": Key(str, "memory, device or stream; None: by size", MODES, FREE),
    "data.num_workers": Key(int, "decoding threads; None: one a core", ABOVE_ZERO, FREE),
    "data.cache_dir": Key(str, "of decoded images; None: ~/.cache/jaxcnn/data", None, FREE),
    "data.cache_limit_gb": Key(50.0, "what was used longest ago is removed above that", ABOVE_ZERO,
        FREE),
    "model.name": Key("cnn", "of a model, see below, or your own"),
    "pretrained.path": Key("", "trained weights, or the directory of a run"),
    "pretrained.head": Key(bool, "take the classifier; None: where it fits"),
    "pretrained.names": Key((), "(pattern of their layers' names, our path), before the known",
        RENAMES),
    "pretrained.ignore": Key((), "patterns of tensors that may be left out", PATTERNS),
    "optimizer.name": Key("adamw", "of an optimizer of Optax, see below, or your own"),
    "optimizer.learning_rate": Key(1e-3, "the highest of the schedule", ABOVE_ZERO),
    "optimizer.weight_decay": Key(0.0, "of kernels; decoupled where the optimizer has that",
        FROM_ZERO),
    "optimizer.decay_biases": Key(False, "True: weight decay for biases and norms, too"),
    "optimizer.clip_norm": Key(float, "largest global norm of the gradient", ABOVE_ZERO),
    "optimizer.clip_value": Key(float, "largest absolute value of the gradient", ABOVE_ZERO),
    "optimizer.clip_adaptive": Key(float, "0.01: of a unit's weights (AGC)", ABOVE_ZERO),
    "optimizer.lookahead_steps": Key(int, "5: updates between slow steps", ABOVE_ZERO),
    "optimizer.lookahead_share": Key(0.5, "of the way that a slow step goes", UP_TO_ONE),
    "optimizer.accumulate": Key(1, "steps whose gradients make one update", ABOVE_ZERO),
    "optimizer.rules": Key((), "(pattern, {what differs}): docs/guides/training.md"),
    "optimizer.layer_decay": Key(float, "of the learning rate, from stage to stage",
        Range("a factor above 0, up to 1", UP_TO_ONE.holds)),
    "schedule.name": Key("cosine", "how the learning rate changes, see below, or your own"),
    "ema.kind": Key("exponential", "or 'equal' (SWA), 'rising': of params, stats", AVERAGES),
    "ema.decay": Key(float, "0.999: evaluate the exponential average; None: none",
        Range("a share above 0, below 1", lambda value: 0 < value < 1)),
    "ema.every": Key(1, "steps from one value that is averaged to the next", ABOVE_ZERO),
    "ema.lookahead": Key(False, "go on from each new average, which is what is evaluated"),
    "loss.name": Key("cross_entropy", "or focal, or your own"),
    "loss.label_smoothing": Key(0.0, "share of the target spread over all classes", SHARE),
    "loss.class_weights": Key(object, "'balanced', or a number for each class", WEIGHTS),
    "augment": Key((), "names or (name, number | {keyword: value}), in order"),
    "parallel.mode": Key("jit", "or 'pmap'", ("jit", "pmap"), FREE),
    "parallel.fsdp": Key(1, "devices that share one copy of parameters and optimiser state",
        ABOVE_ZERO, FREE),
    "parallel.population": Key(bool, "several seeds or trials in one program", None, FREE),
    "parallel.steps_per_dispatch": Key(int, "None: 1 on a CPU, else 16 if possible", ABOVE_ZERO,
        FREE),
    "parallel.native": Key(bool, "convolutions in C++; None: on one CPU, if possible", None, FREE),
    "early_stop.min_delta": Key(0.0, "what an improvement has to exceed", FROM_ZERO),
    "report.at_end": Key(True, "make report/ when training ends", None, FREE),
    "report.resamples": Key(1000, "of the test data, for 95 % intervals",
        Range("a whole number from 100", lambda value: value >= 100), FREE),
    "report.temperature": Key(False, "fit one on validation, and keep it with the model", None,
        FREE),
    "report.tta": Key((), "'shift', 'flip': average over these views, beside the plain result",
        Range(f"a tuple of {', '.join(VIEWS)}", lambda value: set(value) <= {*VIEWS}), FREE),
    "report.occlusion": Key(False, "maps of what matters, patch by patch", None, FREE),
    "report.projection": Key(str, "'pca' or 'tsne': a map of the test images", PROJECTIONS, FREE),
    "report.corruptions": Key(False, "accuracy under 15 corruptions of 5 severities", None, FREE),
    "report.attack": Key(str, "'fgsm' or 'pgd': accuracy under attack", ATTACKS, FREE),
    "report.epsilon": Key(2.0, "what an attack may change in a pixel's value of 0..255",
        Range("a number from 0 to 255", lambda value: 0 <= value <= 255), FREE),
    "report.outliers": Key(str, "a folder of other images, to tell from the test's", None, FREE),
    "report.histograms": Key(False, "parameters and gradients, to TensorBoard in training", None,
        FREE),
}
# fmt: on

# What the durations are, each given in one of three units; see `jaxcnn.config.durations`.
_DURATION_NOTES = {
    "num": "how long to train",
    "eval_every": "from one validation to the next",
    "log_every": "from one line of the log to the next",
    "checkpoint_every": "from one checkpoint to the next",
    "schedule.warmup": "how long the learning rate rises from 0",
    "ema.start": "how long nothing is averaged",
    "early_stop.patience": "stop after so long without an improvement of best_metric",
}
for _name in DURATIONS:
    for _unit in UNITS:
        KEYS[f"{_name}_{_unit}"] = Key(
            float if _unit == "epochs" else int,
            f"{_DURATION_NOTES[_name]}, in {_unit}",
            free=_name in ("log_every", "checkpoint_every"),
        )

# Keys that may differ when a run is resumed; two of them are keywords of data sources.
FREE_ON_RESUME = (*(name for name, key in KEYS.items() if key.free), "data.dir", "data.manual_dir")
