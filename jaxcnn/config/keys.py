"""The config of a run: its defaults, its checks, and what may differ when a run is resumed.

A config file is a Python file with a function `get_config()` that starts from `default_config()`.
`resolve` turns what it returns, with the command line's overrides, into a config without mistakes.
"""

import json
import os
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from flax import traverse_util
from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from jaxcnn.config.choices import CHOICES, resolve_choice
from jaxcnn.config.durations import DURATIONS, UNITS, resolve_durations
from jaxcnn.config.experiment import config_file, load_experiment, source_of
from jaxcnn.config.table import KEYS
from jaxcnn.config.values import check_values
from jaxcnn.core.augment import AUGMENTATIONS
from jaxcnn.errors import UserError, nearest
from jaxcnn.files.rundir import CONFIG, EXPERIMENT, write_text

# Seconds between writes of checkpoints, of which the two of a small state take 0.1 s of a core.
_GAP = 2.0


def default_config() -> ConfigDict:
    """All keys with their defaults, see `jaxcnn.config.table`. `data`, `model`, `optimizer`,
    `schedule` and `loss` also take the keywords of what `data.source`, `model.name`, ... choose;
    one set to None is not given.

    >>> import jaxcnn
    >>> jaxcnn.default_config().batch_size
    128
    """
    return unflatten(
        {
            name: placeholder(key.default) if isinstance(key.default, type) else key.default
            for name, key in KEYS.items()
        }
    )


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
    weights = values["loss.class_weights"]
    if isinstance(weights, Mapping) and {*weights} == {*range(len(weights))} != set():
        values["loss.class_weights"] = tuple(weights[number] for number in range(len(weights)))
    check_values(values)
    resolved = default_config()
    resolved.update(unflatten(values))
    return resolved.lock()


def keys_text(takes: Callable[[str], bool] = lambda key: True) -> str:
    """Returns what --help prints: the keys that a command takes, with defaults and notes, and what
    names choose.
    """
    defaults = flatten(default_config())
    defaults |= {f"{key}_{of[0]}": of[1] for key, of in DURATIONS.items() if of is not None}
    shown = {key: value for key, value in defaults.items() if takes(key)}
    lines = ["", "Keys and their defaults, --config.KEY=VALUE:"]
    for key, value in shown.items():
        line = f"  {key} = {value!r}"
        lines.append(f"{line:<42}  {KEYS[key].note}")
    lines += ["", "What a name chooses takes keywords of its own, --config.PART.KEYWORD=VALUE:"]
    for choice in (one for one in CHOICES.values() if takes(one.key)):
        for name in choice.registry():
            known = ", ".join(choice.keywords(name))
            lines.append(f"  {choice.key} = {name}" + (f": {known}" if known else ""))
    if "augment" in shown:
        lines += ["", f"augment is a tuple of {', '.join(AUGMENTATIONS)}, or (name, number) with"]
        lines += ["what the operation takes, such as --config.augment=\"(('crop', 4), 'flip')\""]
    return "\n".join(lines)


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
        value, name = config[key], f"{prefix}{key}"
        if isinstance(value, Mapping | ConfigDict) and name not in KEYS:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = _tuples(value)
    return flat


def unflatten(values: Mapping[str, Any]) -> ConfigDict:
    """Returns the opposite of `flatten`, without checks; for `resolve`."""
    return ConfigDict(traverse_util.unflatten_dict(values, sep="."))


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

    path: a recipe's name or an experiment file, whose get_config() is called; or a run directory or
      its `config.json`, which comes resolved. What the run's own experiment file defines is
      executed.

    >>> import jaxcnn
    >>> jaxcnn.load_config("digits").model.name
    'cnn'
    >>> jaxcnn.load_config("runs/digits/config.json").data.source
    'digits'
    """
    file = config_file(os.fspath(path))
    if file is None:
        return load_experiment(os.fspath(path))
    path = file
    try:
        content = json.loads(path.read_text("utf-8"))
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


def _tuples(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return tuple(_tuples(item) for item in value)
    if isinstance(value, Mapping | ConfigDict):
        return {key: _tuples(value[key]) for key in value}
    return value
