"""What all commands share: parsing the command line, and how a process ends.

Exit codes: 0 done · 2 the user's mistake, one line on stderr · 1 a bug · 130 Ctrl-C · 143 SIGTERM
· 134 another process of the run has died, or never came.
"""

import logging
import re
import shlex
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NoReturn

from absl import flags
from ml_collections import ConfigDict, config_flags

from jaxcnn.builders.auto import prepare
from jaxcnn.cli import STARTED
from jaxcnn.config.experiment import find_experiment, load_experiment, recipes
from jaxcnn.config.keys import check_known, default_config, flatten
from jaxcnn.config.usage import keys_text
from jaxcnn.errors import UserError, nearest, this_program
from jaxcnn.files.paths import as_path, refused
from jaxcnn.inference.classifier import Classifier, load_classifier, of_trained
from jaxcnn.inference.trained import (
    FREE_WHEN_ANSWERING,
    FREE_WHEN_TRAINED,
    Trained,
    is_free,
    load_trained,
    run_config,
    with_overrides,
)
from jaxcnn.runtime.compile import enable_compile_cache
from jaxcnn.runtime.distributed import is_about_others, is_first, leave
from jaxcnn.runtime.preemption import Interrupted
from jaxcnn.runtime.progress import setup_logging

logger = logging.getLogger(__name__)
FLAGS = flags.FLAGS

_OVERRIDE = re.compile(r"--?(?:no)?config\.([^=]+)")
_ARTIFACT = re.compile(r"--?artifact(=|$)")

_NO_CONFIG = (
    "--config: give an experiment file or the name of a recipe, for example --config digits"
)

# What --config names; `_parse` puts it here.
_experiment: list[str] = []

# The keys of a run's config that the command takes; `define_run` puts them here.
_free: list[str] = []

flags.DEFINE_bool("debug", False, "Show the Python traceback of an error.")


def define_config() -> None:
    """Defines --config FILE and --config.KEY=VALUE."""
    flags.DEFINE_string(
        "config",
        None,
        "The experiment to run: a Python file with get_config(), or the name of a recipe "
        f"({', '.join(recipes())}).",
    )


def define_run(free: tuple[str, ...] = FREE_WHEN_TRAINED) -> None:
    """Defines --workdir and --checkpoint, for commands about a trained model.

    --config.KEY=VALUE then changes the config of the run in --workdir, for the keys in `free`, see
    `jaxcnn.inference.trained.is_free`.
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


def classifier_from_flags() -> Classifier:
    """The model in --workdir or --artifact, which `define_classifier` has defined."""
    if FLAGS.artifact is None:
        return of_trained(trained_from_flags())
    if FLAGS.workdir is not None:
        raise UserError("--artifact: is a model of its own; leave out --workdir")
    if FLAGS["checkpoint"].present:
        raise UserError("--artifact: has one state of the model; leave out --checkpoint")
    if Path(FLAGS.artifact).suffix != ".onnx":
        raise UserError(f"--artifact={FLAGS.artifact}: give a .onnx file; a run is --workdir")
    return load_classifier(FLAGS.artifact)


def trained_from_flags() -> Trained:
    """The model in --workdir, its config with the overrides on the command line."""
    enable_compile_cache()
    given = config_flags.get_override_values(FLAGS["config"])
    config = with_overrides(FLAGS.config, given, tuple(_free))
    return load_trained(FLAGS.workdir, FLAGS.checkpoint)._replace(config=config)


def config_from_flags(workdir: Path | None = None) -> ConfigDict:
    """The config of --config with the overrides on the command line, resolved.

    workdir: of a run that may have begun, see `jaxcnn.builders.auto.prepare`.
    """
    experiment_path()
    return prepare(FLAGS.config, config_flags.get_override_values(FLAGS["config"]), workdir)


def experiment_path() -> Path:
    """The file that --config names; UserError if there is none."""
    if FLAGS.config is None:
        raise UserError(_NO_CONFIG)
    return find_experiment(_experiment[0].partition(":")[0])


def run(main: Callable[..., None], usage: str, arguments: str = "") -> NoReturn:
    """Parses the command line, calls `main()` and ends the process with the right exit code.

    usage: what --help prints above the flags and keys.
    arguments: what the words without a flag are, which `main` takes; "" if there may be none.
    """
    try:
        words = _parse(sys.argv, usage)
        if words and not arguments:
            raise UserError(
                f"{words[0]!r}: not a flag; flags are written --name=value (see --help)"
            )
        setup_logging()
        if _has_config():
            logger.info("imports (%.1f s)", time.perf_counter() - STARTED)
        main(*words)
    except UserError as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        _fail(str(error), 2)
    except Interrupted as error:
        command = shlex.join([*this_program(), *sys.argv[1:]])
        if is_first():
            print(f"stopped, step {error.step} is saved; resume with: {command}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _fail(
            "stopped; the same command starts again, from the last checkpoint if there is one", 130
        )
    except Exception as error:
        if (line := refused(error)) is not None:
            if "--debug" in sys.argv:
                traceback.print_exc()
            _fail(line, 2)
        if is_about_others(error):
            if "--debug" in sys.argv:
                traceback.print_exc()
            reason = " ".join(str(error).split())[:300]
            line = f"another process of the run has died or hangs ({reason}); start again to resume"
            _fail(line, 134)
        traceback.print_exc()
        leave(1)
    sys.exit(0)


def _has_config() -> bool:
    """Whether the command is about a config: an experiment's, or that of a run."""
    return "config" in FLAGS or _is_about_a_run()


def _is_about_a_run() -> bool:
    """Whether --workdir names one run, whose config may be changed."""
    return "workdir" in FLAGS and not isinstance(FLAGS["workdir"], flags.MultiFlag)


def _parse(argv: list[str], usage: str) -> list[str]:
    """Parses the flags; returns the words that are none."""
    if {"--help", "-h", "--helpfull", "-?"} & set(argv):
        print(_help(usage))
        sys.exit(0)
    check_known(match[1] for word in argv if (match := _OVERRIDE.match(word)))
    try:
        return _defined(argv)
    except UserError:
        raise
    except flags.UnrecognizedFlagError as error:
        known = [*FLAGS, *(f"config.{key}" for key in flatten(default_config()))]
        close = nearest(error.flagname, known)
        raise UserError(f"--{error.flagname}: no such flag{close}") from error
    except Exception as error:  # the library raises many kinds
        raise UserError(" ".join(str(error).split())) from error


def _defined(argv: list[str]) -> list[str]:
    """Defines the flags of the config, and parses all; returns the words that are none."""
    if "config" in FLAGS:
        argv = _define_config_of_file(argv)
    elif _is_about_a_run() and not ("artifact" in FLAGS and any(map(_ARTIFACT.match, argv))):
        _define_config_of_run(argv)
    return FLAGS(argv)[1:]


def _take(argv: list[str], flag: str) -> tuple[str | None, list[str]]:
    """What the command line gives for a flag, before flags are parsed, and all other words."""
    values, others = [], []
    words = iter(argv)
    for word in words:
        name, equals, value = word.partition("=")
        if name in (f"--{flag}", f"-{flag}"):
            values.append(value if equals else next(words, ""))
        else:
            others.append(word)
    if len(values) > 1:
        raise UserError(f"--{flag}: given {len(values)} times ({', '.join(values)}); give it once")
    return (values[0] if values else None), others


def _define_config_of_file(argv: list[str]) -> list[str]:
    """Defines --config.KEY=VALUE for the experiment that --config names; returns all other words.

    The config that its get_config() returns takes the place of the name.
    """
    name, others = _take(FLAGS.read_flags_from_files(argv, force_gnu=False), "config")
    if name is None and any(map(_OVERRIDE.match, others)):
        raise UserError(_NO_CONFIG)
    if name is None:
        return argv
    _experiment[:] = [name]
    config = load_experiment(name).unlock()
    delattr(FLAGS, "config")
    # Locked configs take no keyword the file did not set; `resolve` checks the names instead.
    config_flags.DEFINE_config_dict(
        "config", config, lock_config=False, accept_new_attributes=True, sys_argv=others
    )
    return others


def _define_config_of_run(argv: list[str]) -> None:
    workdir, _ = _take(argv, "workdir")
    if not workdir:
        other = ", or an --artifact=model.onnx" if "artifact" in FLAGS else ""
        raise UserError(
            f"--workdir: give the folder of a trained model, --workdir=runs/digits{other}"
        )
    if _take(argv, "config")[0] is not None:
        raise UserError("--config: is the run's own; give --config.KEY=VALUE to change a key of it")
    config = ConfigDict(run_config(as_path(workdir))).unlock()
    config_flags.DEFINE_config_dict("config", config, lock_config=False, accept_new_attributes=True)


def _help(usage: str) -> str:
    lines = [usage.strip(), "", "Flags:"]
    lines += [f"  --{name}: {FLAGS[name].help}" for name in FLAGS if _is_ours(name)]
    if not _has_config():
        return "\n".join(lines)
    text = keys_text() if "config" in FLAGS else keys_text(partial(is_free, free=tuple(_free)))
    return "\n".join([*lines, text])


def _is_ours(name: str) -> bool:
    module = FLAGS.find_module_defining_flag(name) or ""
    return module.startswith(("jaxcnn", "__main__")) or module == sys.argv[0] or name == "config"


def _fail(message: str, code: int) -> NoReturn:
    prefix = "" if code == 130 else "error: "
    print(f"{prefix}{message}", file=sys.stderr, flush=True)
    leave(code)
