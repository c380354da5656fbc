"""A search space: the function `search(trial, config)` of an experiment, --search flags, or both.

    def search(trial, config):
        config.optimizer.learning_rate = trial.suggest_float(
            "optimizer.learning_rate", 1e-4, 1e-1, log=True
        )

`trial` is Optuna's. Parameters are named by the key of the config that they set.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxcnn.config.experiment import line_of, load_module
from jaxcnn.config.keys import differences, flatten, resolve, unflatten
from jaxcnn.errors import UserError
from jaxcnn.search.spec import GRAMMAR, Options, Range, is_plain, parse_specs

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

# So many times a space is drawn from, before a study is begun, to find what is wrong with it.
_DRAWS = 20


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
            self._call(self.search, _Trial(trial, self.specs), config)
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

    def _call(self, search: Callable[[Any, ConfigDict], None], trial: Any, config: Any) -> None:
        try:
            search(trial, config)
        except UserError:
            raise
        except Exception as error:  # it is the user's code, and may raise anything
            raise UserError(line_of(error, str(self.path))) from error


class _Trial:
    """An Optuna trial, but what the flags search is drawn as they say."""

    def __init__(self, trial: Any, specs: Mapping[str, Range | Options]):
        self._trial = trial
        self._specs = specs

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._trial, name)
        if not name.startswith("suggest_"):
            return method

        def suggest(key: str, *arguments: Any, **keywords: Any) -> Any:
            if key in self._specs:
                return self._specs[key].suggest(self._trial, key)
            return method(key, *arguments, **keywords)

        return suggest


def load_space(path: Path, flags: Mapping[str, str], base: ConfigDict) -> Space:
    """The space of an experiment file and --search flags, {key: SPEC}; raises UserError."""
    search = getattr(load_module(str(path)), "search", None)
    if search is None and not flags:
        raise UserError(
            f"{path}: nothing to search; give it a function search(trial, config), or flags such "
            'as --search.optimizer.learning_rate="log 1e-3 1"'
        )
    return Space(path, search, parse_specs(flags, flatten(base)))


def survey(space: Space, base: ConfigDict) -> tuple[dict[str, Any], list[ConfigDict]]:
    """What a space holds, found by drawing from it often, and at every bound. UserError for
    whatever would go wrong in a trial for the sake of the space.

    Returns {parameter: its Optuna distribution}, and the resolved configs at the bounds.
    """
    import optuna

    found: dict[str, Any] = {}
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))

    def draw() -> ConfigDict | UserError:
        trial = study.ask()
        try:
            return space.config(base, trial)
        except UserError as error:
            return error
        finally:
            for name, distribution in trial.distributions.items():
                _check(space, name, distribution, found.setdefault(name, distribution))
            study.tell(trial, state=optuna.trial.TrialState.FAIL)

    drawn = [draw() for _ in range(_DRAWS)]
    lowest = {name: ends(distribution)[0] for name, distribution in found.items()}
    at_bounds = []
    for name, distribution in list(found.items()):
        for value in ends(distribution):
            study.enqueue_trial(lowest | {name: value})
            at_bounds.append(draw())
    configs: list[ConfigDict] = []
    for config in [*at_bounds, *drawn]:  # a bound quotes what the user wrote
        if isinstance(config, UserError):
            raise config
        configs.append(config)
    if not found:
        raise UserError(
            f"{space.path}: search() suggests nothing; let it call trial.suggest_float(...), or "
            f"give --search.KEY={GRAMMAR}"
        )
    if not any(differences(base, config) for config in configs):
        raise UserError(
            f"{space.path}: search() changes nothing in the config; let it set what it suggests, "
            "config.KEY = trial.suggest_float(...)"
        )
    return found, configs[: len(at_bounds)]


def ends(distribution: Any) -> tuple[Any, ...]:
    """The bounds of a range; all of some choices."""
    if hasattr(distribution, "choices"):
        return tuple(distribution.choices)
    return distribution.low, distribution.high


def _check(space: Space, name: str, distribution: Any, first: Any) -> None:
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
