"""The study: what is searched, and the trials so far, for all workers to share."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxcnn.config import FREE_ON_RESUME, differences, resolve, to_json
from jaxcnn.errors import UserError


class Study(NamedTuple):
    """A study, and the directory with the runs of the trials that are trained here.

    optuna, storage: Optuna's. address: of the storage, as messages name it.
    """

    optuna: Any
    storage: Any
    workdir: Path
    address: str

    def trials(self, *states: str) -> list[Any]:
        """Optuna's frozen trials, in order, in the states of these names; without names all."""
        from optuna.trial import TrialState

        chosen = tuple(TrialState[state] for state in states) or None
        return self.optuna.get_trials(deepcopy=False, states=chosen)

    def ended(self) -> list[Any]:
        return self.trials("COMPLETE", "PRUNED", "FAIL")

    def best(self) -> Any:
        """The complete trial with the best value, the first of equals; None where there is none."""
        return self.optuna.best_trial if self.trials("COMPLETE") else None

    def folder(self, number: int) -> Path:
        """The run directory of a trial."""
        return self.workdir / "trials" / str(number)


def open_study(
    storage: Any,
    address: str,
    workdir: Path,
    config: ConfigDict,
    distributions: Mapping[str, Any],
    pruner: Any,
) -> Study:
    """The study of this directory's name in a storage, begun if it is not there; UserError if it is
    about another config or another space.
    """
    import optuna

    name = workdir.resolve().name
    try:
        study = optuna.load_study(study_name=name, storage=storage, pruner=pruner)
    except KeyError:
        study = optuna.create_study(
            storage=storage,
            study_name=name,
            direction="minimize" if config.best_metric == "loss" else "maximize",
            pruner=pruner,
            load_if_exists=True,  # another worker may have been faster
        )
    space = {
        key: json.loads(optuna.distributions.distribution_to_json(one))
        for key, one in distributions.items()
    }
    given = {"config": json.loads(to_json(config)), "space": space}
    known = study.user_attrs
    if given.keys() <= known.keys():
        _check_same(workdir, known, config, space)
    elif study.get_trials(deepcopy=False):
        raise UserError(
            f"{address}: the study {name!r} in it is not one of jaxcnn.tune; give a --workdir of "
            "another name, a study has the name of its folder"
        )
    for key in given.keys() - known.keys():
        study.set_user_attr(key, given[key])
    return Study(study, storage, workdir, address)


def _check_same(
    workdir: Path, known: Mapping[str, Any], config: ConfigDict, space: Mapping[str, Any]
) -> None:
    before = resolve(ConfigDict(known["config"]))
    changed = {
        f"config.{key}": pair
        for key, pair in differences(before, config).items()
        if not key.startswith(FREE_ON_RESUME)
    }
    old = known["space"]
    changed |= {
        f"search.{key}": (_told(old.get(key)), _told(space.get(key)))
        for key in sorted(old.keys() | space.keys())
        if old.get(key) != space.get(key)
    }
    if changed:
        listed = ", ".join(f"{key} was {a!r}, is {b!r}" for key, (a, b) in changed.items())
        raise UserError(
            f"--workdir={workdir}: the search in it is another one ({listed}); give a new "
            "--workdir, or the old values to go on with it"
        )


def _told(distribution: Mapping[str, Any] | None) -> str | None:
    """A distribution's JSON in the words of --search."""
    if distribution is None:
        return None
    what = distribution["attributes"]
    if "choices" in what:
        return "|".join(map(str, what["choices"]))
    return f"{'log ' if what.get('log') else ''}{what['low']:g} {what['high']:g}"
