"""The study: what is searched, and the trials so far, for all workers to share."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxcnn.config.keys import differences, resolve, to_json
from jaxcnn.config.table import FREE_ON_RESUME
from jaxcnn.errors import UserError

# In a tuning directory whose study is elsewhere: the name that it has there.
_NAME = ".study"


class Study(NamedTuple):
    """A study, and the directory with the runs of the trials that are trained here.

    optuna, storage: Optuna's. address: of the storage, as messages name it. own: whether the study
      is in that directory too, so that who sees one sees the other.
    """

    optuna: Any
    storage: Any
    workdir: Path
    address: str
    own: bool

    def trials(self, *states: str) -> list[Any]:
        """Optuna's frozen trials, in order, in the states of these names; without names all."""
        from optuna.trial import TrialState

        chosen = tuple(TrialState[state] for state in states) or None
        return self.optuna.get_trials(deepcopy=False, states=chosen)

    def ended(self) -> list[Any]:
        return self.trials("COMPLETE", "PRUNED", "FAIL")

    def best(self, trials: Sequence[Any] | None = None) -> Any:
        """The complete trial with the best value, the first of equals; None where there is none.

        trials: to choose from; None: all there are now.
        """
        known = self.trials("COMPLETE") if trials is None else trials
        complete = [one for one in known if one.state.name == "COMPLETE"]
        choose = min if self.optuna.direction.name == "MINIMIZE" else max
        return choose(complete, key=lambda one: one.value, default=None)

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
    grid: int | None = None,
) -> Study:
    """The study of this directory in a storage, begun if it is not there, with the directory's
    name; UserError if it is about another config or another space.

    grid: the seed of its order where the trials are the points of a grid.
    """
    import optuna

    own = isinstance(storage, optuna.storages.JournalStorage)
    name = _name(storage, workdir, own)
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
        _check_same(workdir, known, config, space, grid)
    elif study.get_trials(deepcopy=False):
        raise UserError(
            f"{address}: the study {name!r} in it is not one of jaxcnn tune; give a --workdir of "
            "another name, a study has the name of its folder"
        )
    given |= {"grid": grid}
    for key in given.keys() - known.keys():
        study.set_user_attr(key, given[key])
    if not own:
        (workdir / _NAME).write_text(name)
    return Study(study, storage, workdir, address, own)


def _name(storage: Any, workdir: Path, own: bool) -> str:
    """The name that the study of a directory has: of that directory when it was begun, whatever
    name that has now.
    """
    if own:
        names = storage.get_all_studies()
        return names[0].study_name if len(names) == 1 else workdir.resolve().name
    kept = workdir / _NAME
    return kept.read_text() if kept.is_file() else workdir.resolve().name


def _check_same(
    workdir: Path,
    known: Mapping[str, Any],
    config: ConfigDict,
    space: Mapping[str, Any],
    grid: int | None,
) -> None:
    before = resolve(ConfigDict(known["config"] | {"experiment": config.experiment}))
    changed = {
        f"config.{key}": pair
        for key, pair in differences(before, config).items()
        if not key.startswith(FREE_ON_RESUME)
    }
    old = known["space"]
    changed |= {
        f"search.{key}": (_describe(old.get(key)), _describe(space.get(key)))
        for key in sorted(old.keys() | space.keys())
        if old.get(key) != space.get(key)
    }
    if "grid" in known and known["grid"] != grid:  # a point would come twice, another never
        changed["--sampler"] = (_order(known["grid"]), _order(grid))
    if changed:
        listed = ", ".join(f"{key} was {a!r}, is {b!r}" for key, (a, b) in changed.items())
        raise UserError(
            f"--workdir={workdir}: the search in it is another one ({listed}); give a new "
            "--workdir, or the old values to go on with it"
        )


def _order(grid: int | None) -> str:
    return "another than grid" if grid is None else f"grid with --seed={grid}"


def _describe(distribution: Mapping[str, Any] | None) -> str | None:
    """A distribution's JSON in the words of --search."""
    if distribution is None:
        return None
    what = distribution["attributes"]
    if "choices" in what:
        return "|".join(map(str, what["choices"]))
    return f"{'log ' if what.get('log') else ''}{what['low']:g} {what['high']:g}"
