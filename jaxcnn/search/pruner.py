"""Who stops a trial that does worse than others did: Optuna's pruners, by name."""

from typing import Any

PRUNERS = ("median", "hyperband", "none")

# Trials that end before their median means something: Optuna's own default.
_STARTUP_TRIALS = 5


def make_pruner(name: str, evaluations: int) -> Any:
    """What stops trials that do worse than others did after as many evaluations.

    evaluations: of a whole run. The median (Golovin et al. 2017, "Google Vizier") waits for five
    trials, and for a quarter of the evaluations of each; Hyperband (Li et al. 2018,
    arXiv:1603.06560) for neither.
    """
    from optuna import pruners

    if name == "median":
        return pruners.MedianPruner(
            n_startup_trials=_STARTUP_TRIALS, n_warmup_steps=max(1, evaluations // 4)
        )
    if name == "hyperband":
        return pruners.HyperbandPruner(min_resource=1, max_resource=max(2, evaluations))
    return pruners.NopPruner()
