"""Runs that differ in numbers only, trained side by side by one program.

The members of a population go through the same steps at once, by `vmap` over the train step; what
they differ in are arrays. On an accelerator a small net leaves most of it idle, so that more of
them cost little; on a CPU, where grouped convolutions are slow, one after the other is faster (4
members: 3 times; DESIGN).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxcnn.config.keys import flatten, unflatten
from jaxcnn.core.step_wrappers import InputStep, Step, with_input, with_values
from jaxcnn.files.paths import as_path
from jaxcnn.files.rundir import CHECKPOINTS
from jaxcnn.runtime.checkpoint import Checkpoints

# What the members of a population may differ in. Where one of them has 0 or None, which leave an
# operation out of the program, all must.
TOGETHER = (
    "seed",
    "optimizer.learning_rate",
    "optimizer.weight_decay",
    "optimizer.momentum",
    "optimizer.b1",
    "optimizer.b2",
    "optimizer.eps",
    "optimizer.clip_norm",
    "optimizer.clip_value",
    "loss.label_smoothing",
)


# The most members of one program, whatever the device: more are several.
MOST = 16


def groups(configs: Sequence[ConfigDict], workdirs: Sequence[str | Path]) -> list[list[int]]:
    """The numbers of the runs (resolved configs, run directories) that are trained together, up to
    `MOST` of them.

    Only those that stand at the same step can be. `config.parallel.population` says whether they
    are; None: on accelerators. Several processes train one run after the other.

    >>> import jaxcnn
    >>> config = jaxcnn.default_config()
    >>> config.num_epochs, config.parallel.population = 1, True
    >>> configs = [jaxcnn.resolve(config)] * 3
    >>> jaxcnn.groups(configs, ["runs/a", "runs/b", "runs/c"])
    [[0, 1, 2]]
    """
    by_key: dict[Any, list[int]] = {}
    for number, (config, workdir) in enumerate(zip(configs, workdirs, strict=True)):
        key: Any = number
        if is_wanted(config):
            key = (*_what_is_common(config), _latest_step(as_path(workdir), config))
        by_key.setdefault(key, []).append(number)
    return [all_[i : i + MOST] for all_ in by_key.values() for i in range(0, len(all_), MOST)]


def is_wanted(config: ConfigDict) -> bool:
    """Whether runs like this one are trained as a population where there are several."""
    wanted = config.parallel.population
    if wanted is None:
        wanted = jax.default_backend() != "cpu"
    several = config.parallel.fsdp > 1 or jax.process_count() > 1
    return wanted and config.parallel.mode == "jit" and not several


def _what_is_common(config: ConfigDict) -> tuple[Any, ...]:
    """Returns what runs must have in common to be one program."""
    values = flatten(config)
    rest = {key: value for key, value in values.items() if key not in TOGETHER}
    left_out = [(values.get(key) is None, values.get(key) == 0) for key in TOGETHER[1:]]
    return repr(sorted(rest.items())), tuple(left_out)


def _latest_step(workdir: Path, config: ConfigDict) -> int | None:
    checkpoints = Checkpoints(workdir / CHECKPOINTS, config.best_metric, read_only=True)
    try:
        return checkpoints.latest_step()
    finally:
        checkpoints.close()


def differing_values(configs: Sequence[ConfigDict]) -> list[dict[str, jax.Array]]:
    """Returns what the steps of members differ in, {key: float[]} for each; {} for a lone one."""
    flat = [flatten(config) for config in configs]
    differing = [key for key in TOGETHER[1:] if len({config.get(key) for config in flat}) > 1]
    return [{key: jnp.asarray(float(config[key])) for key in differing} for config in flat]


def step_of_members(
    make: Callable[[ConfigDict], Step], config: ConfigDict, values: Sequence[dict[str, Any]]
) -> InputStep:
    """Returns the step of all members: of (state, StepInput), whose values are the member's own.

    make: config -> step. config: of any member; values: see `differing_values`.
    """
    if not any(values):
        return with_input(make(config))
    return with_values(lambda own: make(unflatten(flatten(config) | own)))
