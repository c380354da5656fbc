"""The story of a search for a better config.

    from jaxcnn.search.tune import SearchOptions, tune
    best = tune(config, space, "runs/tune", SearchOptions(trials=50))

Look for mistakes; train trials, each in a run directory of its own, and report them to the study;
then test the winner, and nobody else, and write the results.
"""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from jaxcnn.config.durations import make_plan
from jaxcnn.config.keys import differences, flatten
from jaxcnn.errors import UserError
from jaxcnn.files.folders import check_writable
from jaxcnn.files.locks import has_locks
from jaxcnn.files.paths import local
from jaxcnn.files.rundir import LOCK, read_json
from jaxcnn.runtime.compile import enable_compile_cache
from jaxcnn.runtime.progress import quiet, setup_logging
from jaxcnn.search.results import is_written, read_study, summary, why_none_is_best, write_results
from jaxcnn.search.sampler import check_sampler, grid_size, make_pruner, make_sampler
from jaxcnn.search.space import Space, survey
from jaxcnn.search.study import Study, address_of, check_installed, open_study, storing
from jaxcnn.search.trials import config_of_trial, start_trials, train_trials, trials_of_others
from jaxcnn.training.first_state import describe_parameters
from jaxcnn.training.loop import load_data
from jaxcnn.training.member import describe_data
from jaxcnn.training.population import groups, is_wanted
from jaxcnn.training.run import build_run

logger = logging.getLogger(__name__)

# If as many trials as that have ended and all failed, the reason is not in what was drawn.
_HOPELESS = 5

# How many trials to begin at once on an accelerator, where a population is one program.
_POPULATION = 8


class SearchOptions(NamedTuple):
    """How to search.

    trials: of the whole study, whoever trains them. minutes: of this call. sampler, pruner: names,
      see `jaxcnn.search`. seed: of the sampler. storage: an address; None: a journal file in the
      directory. population: how many trials to begin at once; None: by platform.
    """

    trials: int = 50
    minutes: float | None = None
    sampler: str = "tpe"
    pruner: str = "median"
    seed: int = 0
    storage: str | None = None
    population: int | None = None


def tune(
    config: ConfigDict, space: Space, workdir: str | Path, options: SearchOptions, command: str = ""
) -> dict[str, Any]:
    """Searches around a resolved config, or goes on with a search that was stopped.

    command: what started it, for its records.
    Example::

        from jaxcnn.search.space import load_space
        from jaxcnn.search.tune import SearchOptions

        config = jaxcnn.resolve(jaxcnn.default_config())
        flags = {"optimizer.learning_rate": "log 1e-3 1"}
        space = load_space(Path("experiments/digits.py"), flags, config)
        best = jaxcnn.tune(config, space, "runs/tune", SearchOptions(trials=20))
        best["params"]["optimizer.learning_rate"]

    Returns the content of `best.json`; {} where another worker will write it. Raises UserError for
    what the user can mend, and Interrupted after Ctrl-C or SIGTERM, when the trials are saved.
    """
    setup_logging()
    enable_compile_cache()
    workdir = local(workdir, "--workdir", "a search locks files")
    with quiet("jaxcnn.search"):
        return _tune(config, space, workdir, options, command)


def _tune(
    config: ConfigDict, space: Space, workdir: Path, options: SearchOptions, command: str
) -> dict[str, Any]:
    check_installed()
    ranges, at_bounds = survey(space, config)
    check_sampler(options.sampler, ranges)
    grid = options.seed if options.sampler == "grid" else None
    limit = options.trials if grid is None else min(options.trials, grid_size(ranges))
    pruner = make_pruner(options.pruner, _rehearse(config, at_bounds))
    address = address_of(options.storage, workdir)
    with _make_folder(workdir), storing(address):
        study = open_study(options.storage, workdir, config, ranges, pruner, grid)
        ended = len(study.ended())
    read = partial(read_study, study, config.best_metric, space.path.stem)
    if ended >= limit and is_written(study, search := read()):
        logger.info("%s is finished: %s", workdir, summary(search))
        return read_json(workdir / "best.json") or {}

    configure = partial(space.config, config)
    sampler = partial(make_sampler, options.sampler, options.seed, ranges)
    count = options.population or (_POPULATION if is_wanted(config) else 1)
    deadline = time.monotonic() + 60 * options.minutes if options.minutes else math.inf
    while time.monotonic() < deadline:
        with storing(address):
            active = start_trials(study, configure, sampler, limit, count)
        if not active:
            break
        for group in groups([one.config for one in active], [one.folder for one in active]):
            if not train_trials(study, [active[number] for number in group], limit, deadline):
                count = max(1, count // 2)
        _check_hope(study)

    with storing(address):
        busy = trials_of_others(study)
    if busy:
        message = "other workers are still training (trial %s); the last one writes the results"
        logger.info(message, ", ".join(map(str, busy)))
        return {}
    search = read()
    if search.best is None:
        raise UserError(f"--workdir={workdir}: {why_none_is_best(search)}")
    with storing(address):
        winner = config_of_trial(study, search.best.number, config)
    best = write_results(study, search, winner, command)
    logger.info("best: %s", summary(search))
    return best


@contextmanager
def _make_folder(workdir: Path) -> Iterator[None]:
    """Makes a tuning directory, and deletes it again if the code within raises and it is empty.
    Raises UserError where the folder holds something else.
    """
    if workdir.is_file():
        raise UserError(f"--workdir={workdir}: is a file; give a folder for the search")
    names = {path.name for path in workdir.glob("[!.]*")}
    if names and "trials" not in names:
        raise UserError(
            f"--workdir={workdir}: holds other files ({min(names)}, ...) and no search; give a new "
            "or an empty folder"
        )
    check_writable(workdir, "workdir")
    try:
        (workdir / "trials").mkdir(parents=True, exist_ok=True)
        if not has_locks(workdir / LOCK):
            raise UserError(
                f"--workdir={workdir}: there are no locks on files, by which the workers of a "
                "search know of each other; give a folder of a local disk"
            )
    except OSError as error:
        raise UserError(
            f"--workdir={workdir}: cannot write there ({error.strerror}); give another --workdir"
        ) from error
    try:
        yield
    except UserError:
        if {path.name for path in workdir.iterdir()} == {"trials", LOCK}:
            with suppress(OSError):  # there are trials
                (workdir / "trials").rmdir()
                (workdir / LOCK).unlink()
                workdir.rmdir()
        raise


def _rehearse(config: ConfigDict, at_bounds: Sequence[ConfigDict]) -> int:
    """Builds the runs of the configs at the bounds of a space, without training; UserError where
    one cannot be built. Returns how often a run is evaluated.
    """
    dataset = load_data(config)
    if "validation" not in dataset.splits:
        raise UserError(
            "config.data.holdout: there are no validation images to compare trials by; give a "
            "config.data.holdout"
        )
    on_host = dataset._replace(mode="memory") if dataset.mode == "device" else dataset
    facts = describe_data(config, dataset, None)
    for one in at_bounds:
        if not any(key.startswith("data.") for key in differences(config, one)):
            run = build_run([one], on_host, facts)
            describe_parameters(run.make_states[0], run.rules)
    plan = make_plan(flatten(config), len(dataset.splits["train"]))
    return max(1, int(plan.num_steps * config.batch_size / plan.eval_every.examples))


def _check_hope(study: Study) -> None:
    """UserError if there are some trials and all have failed."""
    with storing(study.address):
        ended = study.ended()
    if len(ended) >= _HOPELESS and all(one.state.name == "FAIL" for one in ended):
        raise UserError(
            f"--workdir={study.workdir}: all {len(ended)} trials so far have failed, the last one: "
            f"{ended[-1].user_attrs.get('reason')}"
        )
