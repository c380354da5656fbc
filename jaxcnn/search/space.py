"""A search space: the function `search(trial, config)` of an experiment, --search flags, or both.

    def search(trial, config):
        config.optimizer.learning_rate = trial.suggest_float(
            "optimizer.learning_rate", 1e-4, 1e-1, log=True
        )

`trial` is Optuna's. Parameters are named by the key of the config that they set. A flag is
--search.KEY=SPEC, and a SPEC

    "LOW HIGH"        numbers from LOW to HIGH, both included
    "log LOW HIGH"    the same, and each power of ten as likely as every other
    "A|B|C"           one of these, written as --config values are: 3, 0.1, name, None, "(64, 128)"

Numbers are whole where the key takes whole numbers only.
"""

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxcnn.config.choices import CHOICES
from jaxcnn.config.experiment import line_of, load_module
from jaxcnn.config.keys import default_config, differences, flatten, resolve, unflatten
from jaxcnn.config.table import matches
from jaxcnn.errors import UserError, nearest

GRAMMAR = '"LOW HIGH", "log LOW HIGH" or "A|B|C"'

# Trials that differ in these could not be compared with each other, or would not differ at all.
FIXED = (
    "best_metric",
    "data.dir",
    "data.group_pattern",
    "data.holdout",
    "data.name",
    "data.num_classes",
    "data.source",
    "data.split_seed",
    "data.test_holdout",
    "data.test_split",
    "data.train_split",
    "data.validation_split",
    "parallel.",
    "report.",
)

# How often a space is drawn from, before a study is begun, to see what is wrong with it.
_DRAWS = 20


class Range(NamedTuple):
    """Numbers from `low` to `high`, both included."""

    low: float
    high: float
    log: bool
    whole: bool

    def suggest(self, trial: Any, key: str) -> float | int:
        if self.whole:
            return trial.suggest_int(key, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(key, self.low, self.high, log=self.log)


class Options(NamedTuple):
    """Some values to choose from."""

    values: tuple[Any, ...]

    def suggest(self, trial: Any, key: str) -> Any:
        if all(map(is_plain, self.values)):
            return trial.suggest_categorical(key, self.values)
        # A storage keeps no tuples: it is given their texts.
        texts = [str(value) for value in self.values]
        return self.values[texts.index(trial.suggest_categorical(key, texts))]


class Space(NamedTuple):
    """What is searched.

    search: the function in the experiment `path`; None where it has none.
    specs: by key, what the flags say; they replace what the function says of the same keys.
    """

    path: Path
    search: Callable[[Any, ConfigDict], None] | None
    specs: Mapping[str, Range | Options]

    def config(self, base: ConfigDict, trial: Any) -> ConfigDict:
        """The resolved config of a trial; raises UserError."""
        config = unflatten(flatten(base))
        if self.search is not None:
            try:
                self.search(_Trial(trial, self.specs), config)
            except UserError:
                raise
            except Exception as error:  # it is the user's code, and may raise anything
                raise UserError(line_of(error, str(self.path))) from error
        values = flatten(config)
        values |= {key: spec.suggest(trial, key) for key, spec in self.specs.items()}
        changed = differences(base, unflatten(values))
        for key in changed:
            if key.startswith(FIXED):
                raise UserError(
                    f"config.{key}: cannot be searched; trials are compared by it, or do not "
                    "depend on it"
                )
        return resolve(unflatten(values), changed.keys())


class _Trial(NamedTuple):
    """An Optuna trial that draws what the flags search as they say."""

    trial: Any
    specs: Mapping[str, Range | Options]

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.trial, name)
        if not name.startswith("suggest_"):
            return method

        def suggest(key: str, *arguments: Any, **keywords: Any) -> Any:
            if key in self.specs:
                return self.specs[key].suggest(self.trial, key)
            return method(key, *arguments, **keywords)

        return suggest


def load_space(path: Path, flags: Mapping[str, str], base: ConfigDict) -> Space:
    """The space of an experiment file (a config.json has none) and --search flags, {key: SPEC};
    raises UserError.
    """
    own = path.suffix != ".json"
    search = getattr(load_module(str(path)), "search", None) if own else None
    if search is None and not flags:
        raise UserError(
            f"{path}: nothing to search; give it a function search(trial, config), or flags such "
            'as --search.optimizer.learning_rate="log 1e-3 1"'
        )
    return Space(path, search, parse_specs(flags, flatten(base)))


def survey(space: Space, base: ConfigDict) -> tuple[dict[str, Any], list[ConfigDict]]:
    """Draws from a space often, and at every bound. UserError for whatever would go wrong in a
    trial for the sake of the space.

    Returns {parameter: its Optuna distribution}, and the resolved configs at the bounds.
    """
    import optuna

    ranges: dict[str, Any] = {}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))

    def draw() -> ConfigDict | UserError:
        trial = study.ask()
        try:
            return space.config(base, trial)
        except UserError as error:
            return error
        finally:
            for name, distribution in trial.distributions.items():
                _check(space, name, distribution, ranges.setdefault(name, distribution))
            study.tell(trial, state=optuna.trial.TrialState.FAIL)

    drawn = [draw() for _ in range(_DRAWS)]
    ends = {
        name: getattr(one, "choices", None) or (one.low, one.high) for name, one in ranges.items()
    }
    lowest = {name: values[0] for name, values in ends.items()}
    at_bounds = []
    for name, values in ends.items():
        for value in values:
            study.enqueue_trial(lowest | {name: value})
            at_bounds.append(draw())
    configs: list[ConfigDict] = []
    for config in [*at_bounds, *drawn]:  # a bound quotes what the user wrote
        if isinstance(config, UserError):
            raise config
        configs.append(config)
    if not ranges:
        raise UserError(
            f"{space.path}: search() suggests nothing; let it call trial.suggest_float(...), or "
            f"give --search.KEY={GRAMMAR}"
        )
    if not any(differences(base, config) for config in configs):
        raise UserError(
            f"{space.path}: search() changes nothing in the config; let it set what it suggests, "
            "config.KEY = trial.suggest_float(...)"
        )
    return ranges, configs[: len(at_bounds)]


def _check(space: Space, name: str, distribution: Any, first: Any) -> None:
    """UserError where a parameter has another distribution than at first, or an odd choice."""
    if distribution != first:
        raise UserError(
            f"{space.path}: search() gives {name} another range from trial to trial; name them "
            "differently"
        )
    for choice in getattr(distribution, "choices", ()):
        if not is_plain(choice):
            raise UserError(
                f"{space.path}: search() lets {name} be {choice!r}, which a study cannot keep; "
                "suggest a name or a number for it"
            )


def is_plain(value: Any) -> bool:
    """Whether a choice is kept by every storage as it is."""
    return value is None or isinstance(value, bool | int | float | str)


def parse_specs(specs: Mapping[str, str], base: Mapping[str, Any]) -> dict[str, Range | Options]:
    """{key: what to search}; raises UserError.

    base: the flattened config that is searched around.
    """
    known = flatten(default_config())
    for key in specs:
        if key not in known and key.split(".")[0] not in CHOICES:
            raise UserError(f"--search.{key}: no such key{nearest(key, known)}")
    return {key: _parse(key, text, base, specs) for key, text in sorted(specs.items())}


def _parse(
    key: str, text: str, base: Mapping[str, Any], specs: Mapping[str, str]
) -> Range | Options:
    def refuse(problem: str) -> UserError:
        return UserError(f"--search.{key}={text!r}: {problem}")

    if "|" in text:
        values = tuple(_value(part.strip()) for part in text.split("|"))
        if "" in values:
            raise refuse("a choice is empty; write them as A|B|C")
        if len(set(map(repr, values))) < len(values):
            raise refuse("a choice is there twice")
        return Options(values)
    words = text.split()
    log = words[:1] == ["log"]
    try:
        low, high = map(float, words[log:])
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high)):
        raise refuse(f"expected {GRAMMAR}")
    whole = all(matches(1, hint) and not matches(0.5, hint) for hint in _hints(key, base, specs))
    if low > high:
        turned = " ".join([*words[:log], words[-1], words[-2]])
        raise refuse(f"the lower bound comes first, {turned!r}")
    if low == high:
        raise refuse(f"both bounds are the same; fix it with --config.{key}={words[-1]}")
    if log and low <= 0:
        raise refuse(f"the logarithm of {words[1]} does not exist; give a bound above 0")
    if whole and not (low.is_integer() and high.is_integer()):
        raise refuse(f"{key} takes whole numbers; give whole bounds")
    return Range(low, high, log, whole)


def _value(text: str) -> Any:
    """A choice, read as a value of --config is."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _hints(key: str, base: Mapping[str, Any], specs: Mapping[str, str]) -> Sequence[Any]:
    """The types of a key; of a keyword, for whatever takes it of those that are searched."""
    config: Any = default_config()
    *parts, leaf = key.split(".")
    for part in parts:
        config = config.get(part, {})
    if leaf in config:
        return [config.get_type(leaf)]
    if not parts or parts[0] not in CHOICES:
        return [float]
    choice = CHOICES[parts[0]]
    experiment = str(base.get("experiment") or "")
    names = [*specs.get(choice.key, "").split("|"), str(base.get(choice.key))]
    takes = []
    for name in map(str.strip, names):
        with suppress(UserError):  # of a name that is none, as its trial will say
            takes.append(choice.keywords(name, experiment))
    return [hints[leaf] for hints in takes if leaf in hints] or [float]
