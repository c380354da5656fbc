"""Who proposes the values of a trial, and who stops it early: Optuna's samplers and pruners.

The flags of `jaxcnn tune` name them, so nothing slow is imported here.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxcnn.errors import UserError

SAMPLERS = ("tpe", "random", "grid", "cmaes")
PRUNERS = ("median", "hyperband", "none")


def make_sampler(name: str, seed: int, distributions: Mapping[str, Any], number: int) -> Any:
    """What proposes the values of trial `number`: a function of the seed, the number and the trials
    so far, so that a search that was killed goes on as it would have, whoever goes on with it.
    """
    from optuna import samplers

    if name == "grid":
        # Optuna's own grid is for its own loop only, which it stops.
        values = {key: grid_values(one) or () for key, one in distributions.items()}
        size = grid_size(distributions)
        place = np.random.default_rng(seed).permutation(size)[number % size]
        indices = np.unravel_index(place, [len(of) for of in values.values()])
        point = {key: of[i] for (key, of), i in zip(values.items(), indices, strict=True)}
        return samplers.PartialFixedSampler(point, samplers.RandomSampler(seed=seed))
    own = int(np.random.SeedSequence([seed, number]).generate_state(1)[0])
    if name == "random":
        return samplers.RandomSampler(seed=own)
    if name == "cmaes":
        return samplers.CmaEsSampler(seed=own, warn_independent_sampling=False)
    # Several workers, or a population, ask before the trials of others are told.
    return samplers.TPESampler(seed=own, constant_liar=True)


def check_sampler(name: str, distributions: Mapping[str, Any]) -> None:
    """UserError where a sampler cannot search a space."""
    for key, one in distributions.items():
        if name == "grid" and grid_values(one) is None:
            raise UserError(
                f'--sampler=grid: {key} is a range; list its values, --search.{key}="A|B|C"'
            )
        if name == "cmaes" and hasattr(one, "choices"):
            raise UserError(
                f"--sampler=cmaes: {key} is a choice, and CMA-ES takes ranges of numbers; give "
                "--sampler=tpe, or a range"
            )
    if name == "cmaes" and len(distributions) < 2:
        raise UserError(
            "--sampler=cmaes: takes two parameters or more, and there is one; give another "
            "--sampler, or search more"
        )


def grid_values(distribution: Any) -> list[Any] | None:
    """All values of a distribution; None where they cannot be listed."""
    if hasattr(distribution, "choices"):
        return list(distribution.choices)
    if distribution.step is None:
        return None
    low, high, step = distribution.low, distribution.high, distribution.step
    return [low + i * step for i in range(round((high - low) / step) + 1)]


def grid_size(distributions: Mapping[str, Any]) -> int:
    return int(np.prod([len(grid_values(one) or ()) for one in distributions.values()]))


def make_pruner(name: str, evaluations: int) -> Any:
    """What stops trials that do worse than others did after as many evaluations.

    evaluations: of a whole run. The median (Golovin et al. 2017, "Google Vizier") waits for five
    trials, and for a quarter of the evaluations of each; Hyperband (Li et al. 2018,
    arXiv:1603.06560) for neither.
    """
    from optuna import pruners

    if name == "median":
        return pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=max(1, evaluations // 4))
    if name == "hyperband":
        return pruners.HyperbandPruner(min_resource=1, max_resource=max(2, evaluations))
    return pruners.NopPruner()
