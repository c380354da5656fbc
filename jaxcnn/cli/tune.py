r"""Searches for a better config: trains many, compares them on validation, tests the winner.

    jaxcnn tune --config digits --trials 50
    jaxcnn tune --config digits --workdir runs/tune --minutes 30 \
        --search.optimizer.learning_rate="log 1e-3 1" --search.model.norm="batch|group"
    jaxcnn tune learning_rate --config digits
    jaxcnn tune batch_size --config digits

What is searched says the experiment's function search(trial, config), where `trial` is Optuna's, or
--search.KEY=SPEC, which comes before it for the same key. A SPEC is

    "LOW HIGH"      numbers in this range; whole ones where the key takes no others
    "log LOW HIGH"  the same, evenly over their logarithms
    "A|B|C"         one of these values, written as for --config.KEY

The same command started again goes on with a search that was stopped, a trial that was cut off
included; started several times, here or on other machines, it is as many workers on one search. The
directory then holds trials.csv, best.json, best.py (the best config as an experiment), tune.html
with its pictures, and trials/<n>/, the run directories.

learning_rate is no search but one short run whose rate grows until the loss does; batch_size asks
the compiler for the largest batch that fits, and allocates nothing to find that out.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from absl import flags

from jaxcnn.cli.parsing import config_from_flags, define_config, experiment_name, experiment_path
from jaxcnn.errors import UserError, command, nearest
from jaxcnn.files.paths import as_path, local
from jaxcnn.search.sampler import PRUNERS, SAMPLERS

ARGUMENTS = "[learning_rate | batch_size]"

_FINDERS = ("learning_rate", "batch_size")
_OF_RANGES = ("from", "to", "steps")
_OF_SEARCHES = ("trials", "minutes", "sampler", "pruner", "seed", "storage", "population")

define_config()
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "The tuning directory. Default: runs/<name of the experiment file>-tune."
)
_TRIALS = flags.DEFINE_integer(
    "trials", 50, "How many trials the search has, of all workers together.", lower_bound=1
)
_MINUTES = flags.DEFINE_float(
    "minutes", None, "After so long this command stops training, and writes what it has found."
)
_SAMPLER = flags.DEFINE_enum(
    "sampler", "tpe", SAMPLERS, "What proposes values: tpe, random, grid (choices only) or cmaes."
)
_PRUNER = flags.DEFINE_enum(
    "pruner", "median", PRUNERS, "What stops trials that do badly: median, hyperband or none."
)
_SEED = flags.DEFINE_integer("seed", 0, "Of the sampler.", lower_bound=0)
_STORAGE = flags.DEFINE_string(
    "storage",
    None,
    "Where workers on several machines share the study: sqlite:///FILE, postgresql://..., or "
    "grpc://HOST:PORT. Default: a file in the tuning directory.",
)
_POPULATION = flags.DEFINE_integer(
    "population", None, "Trials to begin at once. Default: 1 on a CPU, else 8.", lower_bound=1
)
_FROM = flags.DEFINE_float("from", 1e-6, "learning_rate: the rate of its first step.")
_TO = flags.DEFINE_float("to", 10.0, "learning_rate: the rate of its last step.")
_STEPS = flags.DEFINE_integer("steps", 100, "learning_rate: how many steps it has.")

# The --search.KEY that are on the command line; any key may be there.
_SEARCHED = sorted({word.lstrip("-").partition("=")[0] for word in sys.argv
                    if word.lstrip("-").startswith("search.") and word[0] == "-"})  # fmt: skip
for _name in _SEARCHED:
    flags.DEFINE_multi_string(_name, [], "What to search.")


def check(*words: str) -> None:
    if words and (words[0] not in _FINDERS or len(words) > 1):
        line, known = " ".join(words), " or ".join(_FINDERS)
        raise UserError(f"{line!r}: expected {known}, or flags{nearest(words[0], _FINDERS)}")
    if words:
        of_rates = words[0] == "learning_rate"
        return _refuse([*_OF_SEARCHES, *_SEARCHED, *(() if of_rates else _OF_RANGES)], words[0])
    _refuse(_OF_RANGES, "a search")
    if _MINUTES.value is not None and not 0 < _MINUTES.value < float("inf"):
        raise UserError(f"--minutes={_MINUTES.value}: expected a number above 0")
    for name in _SEARCHED:
        if (times := len(flags.FLAGS[name].value or [])) != 1:
            raise UserError(f"--{name}: given {times} times; give it once")
    return None


def _refuse(names: Iterable[str], what: str) -> None:
    """UserError for a flag that says nothing here."""
    for name in names:
        if flags.FLAGS[name].present:
            raise UserError(f"--{name}: is not for {what}; leave it out")


def main(*words: str) -> None:
    if words:
        _find(words[0])
    else:
        _search()


def _find(key: str) -> None:
    """Finds a learning rate or a batch size, without a search."""
    output = as_path(_WORKDIR.value or Path("runs") / f"{experiment_name()}-{key}")
    config = config_from_flags()
    if key == "batch_size":
        from jaxcnn.search.batch_size_limit import find_batch_size

        print(find_batch_size(config, output))
    else:
        from jaxcnn.search.learning_rate_range import find_learning_rate

        low, high, steps = _FROM.value, _TO.value, _STEPS.value
        print(find_learning_rate(config, output, low=low, high=high, steps=steps))
    print(f"more in {output}")


def _search() -> None:
    os.environ.setdefault("MPLBACKEND", "agg")  # Optuna draws with pyplot, which wants a window
    from jaxcnn.search.space import load_space
    from jaxcnn.search.tune import SearchOptions, tune

    default = Path("runs") / f"{experiment_name()}-tune"
    workdir = local(_WORKDIR.value or default, "--workdir", "a search locks files")
    config, experiment = config_from_flags(), experiment_path()
    if experiment.suffix == ".json" and config.experiment:  # of a run
        experiment = Path(config.experiment)
    given = {name: flags.FLAGS[name].value or [] for name in _SEARCHED}
    specs = {name.removeprefix("search."): spec for name, (spec,) in given.items()}
    space = load_space(experiment, specs, config)
    options = SearchOptions(
        trials=_TRIALS.value,
        minutes=_MINUTES.value,
        sampler=_SAMPLER.value,
        pruner=_PRUNER.value,
        seed=_SEED.value,
        storage=_STORAGE.value,
        population=_POPULATION.value,
    )
    best = tune(config, space, workdir, options, command("tune"))
    if best:
        print(f"more in {workdir / 'tune.html'}; train it again with {workdir / 'best.py'}")
