"""The command line: flags that name an experiment, a run or a model, and how all are parsed.

What is slow to import is imported when flags alone have shown no mistake.
"""

import logging
import re
import sys
import time
from collections.abc import Collection, Mapping
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from absl import flags
from ml_collections import ConfigDict

from jaxcnn.cli import STARTED
from jaxcnn.errors import UserError, nearest
from jaxcnn.files.paths import as_path

if TYPE_CHECKING:
    from jaxcnn.inference.classifier import Classifier
    from jaxcnn.inference.trained import Trained

logger = logging.getLogger(__name__)
FLAGS = flags.FLAGS

# Keys of the config that may be changed for a model that is trained.
FREE_WHEN_TRAINED = ("data.", "report.", "batch_size", "dtype")

# Of these, what says anything where answers are in float32 to given images: predict, export.
FREE_WHEN_ANSWERING = ("data.",)

# Of these, what only training reads, or a trained model holds already.
_TRAINING = ("data.mean", "data.std", "data.sampling", "report.at_end", "report.histograms")

_OVERRIDE = re.compile(r"--?(no)?config\.([^=]+)(?:=(.*))?", re.DOTALL)

_NO_CONFIG = (
    "--config: give an experiment file or the name of a recipe, for example --config digits"
)

# Flags that name a folder or an address.
_PLACES = ("workdir", "output", "storage")

# Whether the command needs --config; `define_config` puts it here.
_required: list[bool] = []

# The config of --config or of the run, with the overrides on the command line, which are the other:
# {key: value}; `parse` puts them here.
_config: list[ConfigDict] = []
_overrides: dict[str, Any] = {}

# The keys of a run's config that the command takes; `define_run` puts them here.
_free: list[str] = []

flags.DEFINE_bool("debug", False, "Show the Python traceback of an error.")


def define_config(required: bool = True) -> None:
    """Defines --config FILE and --config.KEY=VALUE."""
    _required[:] = [required]
    flags.DEFINE_string(
        "config",
        None,
        "The experiment to run: a Python file with get_config(), the name of a recipe, or the "
        "directory of a run, whose config.json is taken.",
    )


def define_run(free: tuple[str, ...] = FREE_WHEN_TRAINED) -> None:
    """Defines --workdir and --checkpoint, for commands about a trained model.

    --config.KEY=VALUE then changes the config of the run in --workdir, for the keys in `free`, see
    `is_free`.
    """
    _free[:] = free
    flags.DEFINE_string("workdir", None, "The run directory that training made.")
    flags.DEFINE_string(
        "checkpoint", "best", "Which of its checkpoints: best (on validation), latest, or a step."
    )


def define_classifier() -> None:
    """Defines --artifact beside what `define_run` does, for commands that only need answers."""
    define_run(FREE_WHEN_ANSWERING)
    flags.DEFINE_string(
        "artifact", None, "In place of --workdir: a model.onnx that jaxcnn export wrote."
    )


def is_free(key: str, free: tuple[str, ...] = FREE_WHEN_TRAINED) -> bool:
    """Whether a key of the config says anything about a model that is trained, to a command that
    takes the keys in `free`.
    """
    return key.startswith(free) and key not in _TRAINING


def with_overrides(
    config: ConfigDict, overrides: Collection[str], free: tuple[str, ...] = FREE_WHEN_TRAINED
) -> ConfigDict:
    """The config of a run, changed on the command line; UserError for what the command does not
    take, see `is_free`.
    """
    from jaxcnn.config import resolve

    for key in overrides:
        if not is_free(key, free):
            known = ", ".join(f"config.{k}" + "*" * k.endswith(".") for k in free)
            without = ", ".join(k for k in _TRAINING if k.startswith(free))
            raise UserError(
                f"config.{key}: the model is trained already; what may be given is {known} "
                f"(without {without})"
            )
    return resolve(config, overrides)


def classifier_from_flags() -> "Classifier":
    """The model in --workdir or --artifact, which `define_classifier` has defined."""
    from jaxcnn.inference.classifier import load_classifier, of_trained

    if FLAGS.artifact is None:
        return of_trained(trained_from_flags())
    if FLAGS.workdir is not None:
        raise UserError("--artifact: is a model of its own; leave out --workdir")
    if FLAGS["checkpoint"].present:
        raise UserError("--artifact: has one state of the model; leave out --checkpoint")
    if Path(FLAGS.artifact).suffix != ".onnx":
        raise UserError(f"--artifact={FLAGS.artifact}: give a .onnx file; a run is --workdir")
    return load_classifier(FLAGS.artifact)


def trained_from_flags() -> "Trained":
    """The model in --workdir, its config with the overrides on the command line."""
    from jaxcnn.inference.trained import load_trained
    from jaxcnn.runtime.compile import enable_compile_cache

    log_imports()
    enable_compile_cache()
    config = with_overrides(_config[0], _overrides, tuple(_free))
    return load_trained(FLAGS.workdir, FLAGS.checkpoint)._replace(config=config)


def config_from_flags(workdir: Path | None = None) -> ConfigDict:
    """The config of --config with the overrides on the command line, resolved.

    workdir: of a run that may have begun, see `jaxcnn.builders.auto.prepare`.
    """
    from jaxcnn.builders.auto import prepare

    log_imports()
    return prepare(_config[0], _overrides, workdir)


def first_seed() -> int:
    """config.seed, before a config is looked at as a whole."""
    return _config[0].get("seed", 0)


def experiment_path() -> Path:
    """The file that --config names: an experiment, or the config.json of a run."""
    from jaxcnn.config.experiment import find_experiment

    return find_experiment(FLAGS.config)


def experiment_name() -> str:
    """What default output folders are called: the name of the experiment file, or of the run."""
    path = experiment_path()
    return path.stem if path.suffix != ".json" else path.absolute().parent.name


@cache
def log_imports() -> None:
    """Logs, once, how long the process has taken till here."""
    logger.info("imports (%.1f s)", time.perf_counter() - STARTED)


def parse(argv: list[str], verb: ModuleType) -> list[str]:
    """Parses the flags; returns the words that are none. For --help, prints it and exits.

    verb: a file of this folder. Its docstring is what --help prints above the flags and keys.
      ARGUMENTS, if it takes such words: what they are. check(*words), if there is one: raises
      UserError for what its flags and words alone show to be wrong.
    """
    check, takes_words = getattr(verb, "check", lambda: None), hasattr(verb, "ARGUMENTS")
    if {"--help", "-h", "--helpfull", "-?"} & set(argv):
        print(_help(verb))
        sys.exit(0)
    try:
        texts, argv = _take_overrides(FLAGS.read_flags_from_files(argv, force_gnu=False))
        if _is_about_a_run() and _values_of(argv, "config"):
            raise UserError(
                "--config: is the run's own; give --config.KEY=VALUE to change a key of it"
            )
        words = FLAGS(argv)[1:]
        of_run = _is_about_a_run() and not ("artifact" in FLAGS and FLAGS["artifact"].present)
        _check_flags(argv, words, texts, of_run, takes_words)
        check(*words)
        if "config" in FLAGS and FLAGS.config is not None:
            from jaxcnn.config import load_config

            _read_config(load_config(FLAGS.config), texts)
        elif of_run:
            from jaxcnn.inference.trained import run_config

            _read_config(run_config(as_path(FLAGS.workdir)), texts)
    except UserError:
        raise
    except flags.UnrecognizedFlagError as error:
        raise UserError(f"--{error.flagname}: no such flag{_nearest(error.flagname)}") from error
    except Exception as error:  # the library raises many kinds
        raise UserError(" ".join(str(error).split())) from error
    return words


def _is_about_a_run() -> bool:
    """Whether --workdir names one run, whose config may be changed."""
    return "checkpoint" in FLAGS and not isinstance(FLAGS["workdir"], flags.MultiFlag)


def _check_flags(
    argv: list[str], words: list[str], texts: Mapping[str, str], of_run: bool, takes_words: bool
) -> None:
    """UserError where --config or --workdir is missing or given twice, for words too many, and
    where what shall name a place is empty.

    of_run: whether --workdir is needed.
    """
    of_file = "config" in FLAGS and FLAGS.config is None
    missing = "config" if of_file and _required[0] else "workdir" * (of_run and not FLAGS.workdir)
    if missing and words and not takes_words:
        raise UserError(f"{words[0]!r}: not a flag; did you mean --{missing} {words[0]}?")
    if missing == "config" or (of_file and texts):
        raise UserError(_NO_CONFIG)
    if missing:
        other = ", or an --artifact=model.onnx" if "artifact" in FLAGS else ""
        raise UserError(
            f"--workdir: give the folder of a trained model, --workdir=runs/digits{other}"
        )
    for name in _PLACES:
        if name in FLAGS and FLAGS[name].value == "":
            raise UserError(f"--{name}: is empty; give it a value, or leave the flag out")
    if words and not takes_words:
        raise UserError(f"{words[0]!r}: not a flag; flags are written --name=value (see --help)")
    for flag in ("config", *(["workdir"] * of_run)):
        values = _values_of(argv, flag)
        if len(values) > 1:
            count = f"given {len(values)} times ({', '.join(values)})"
            raise UserError(f"--{flag}: {count}; give it once")
    if texts and not of_run and "config" not in FLAGS:
        raise UserError(f"--config.{min(texts)}: no such flag")


def _nearest(name: str) -> str:
    """Returns ' (did you mean x?)' for a flag that is not known, or ''."""
    if "." not in name and (close := nearest(name, FLAGS)):
        return close
    from jaxcnn.config.keys import default_config, flatten

    return nearest(name, [*FLAGS, *(f"config.{key}" for key in flatten(default_config()))])


def _values_of(argv: list[str], flag: str) -> list[str]:
    """All values that the command line gives for a flag."""
    values, words = [], iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name in (f"--{flag}", f"-{flag}"):
            values.append(value if equals else next(words, ""))
    return values


def _take_overrides(argv: list[str]) -> tuple[dict[str, str], list[str]]:
    """Returns {key: text} of --config.KEY=TEXT, the last where a key comes again, and all other
    words. Also --config.KEY TEXT, and --config.KEY and --noconfig.KEY for True and False.
    """
    texts, others = {}, []
    words = iter(argv)
    for word in words:
        if word == "--":
            others += [word, *words]
        elif (match := _OVERRIDE.fullmatch(word)) is None:
            others.append(word)
        else:
            no, key, text = match.groups()
            if no:
                text = "False"
            elif text is None:
                from jaxcnn.config.overrides import is_switch

                text = "True" if is_switch(key) else next(words, "")
            texts[key] = text
    return texts, others


def _read_config(config: ConfigDict, texts: Mapping[str, str]) -> None:
    from jaxcnn.config.overrides import apply_overrides

    config = ConfigDict(config).unlock()
    _overrides.update(apply_overrides(config, texts))
    _config[:] = [config]


def _help(verb: ModuleType) -> str:
    if "config" in FLAGS:
        from jaxcnn.config.experiment import recipes

        FLAGS["config"].help += f" Recipes: {', '.join(recipes())}."
    lines = [(verb.__doc__ or "").strip(), "", "Flags:"]
    lines += [f"  --{name}: {FLAGS[name].help}" for name in FLAGS if _is_ours(name)]
    if "config" in FLAGS or _is_about_a_run():
        from jaxcnn.config.keys import keys_text

        of_run = partial(is_free, free=tuple(_free))
        lines.append(keys_text() if "config" in FLAGS else keys_text(of_run))
    return "\n".join(lines)


def _is_ours(name: str) -> bool:
    module = FLAGS.find_module_defining_flag(name) or ""
    return module.startswith(("jaxcnn", "__main__")) or module == sys.argv[0] or name == "config"
