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

# The keys of a run's config that the command takes; `define_run` puts them here.
_free: list[str] = []

flags.DEFINE_bool("debug", False, "Show the Python traceback of an error.")


def define_config() -> None:
    """Defines --config FILE and --config.KEY=VALUE."""
    config_flags.DEFINE_config_file(
        "config",
        help_string="The experiment to run: a Python file with get_config().",
        # Locked configs take no keyword the file did not set; `resolve` checks the names instead.
        lock_config=False,
        accept_new_attributes=True,
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
    config_path()
    return prepare(FLAGS.config, config_flags.get_override_values(FLAGS["config"]), workdir)


def config_path() -> str:
    """The path given to --config; UserError if there is none."""
    if FLAGS.config is None:
        raise UserError(
            "--config: give an experiment file, for example --config experiments/digits.py"
        )
    return config_flags.get_config_filename(FLAGS["config"])


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
    path = None
    if "config" in FLAGS:
        path = _given_config(argv)
    elif _is_about_a_run() and not ("artifact" in FLAGS and any(map(_ARTIFACT.match, argv))):
        _define_config_of_run(argv)
    if path is not None and path.is_dir():
        raise UserError(f"--config={path}: is a folder; give one of the experiment files in it")
    if path is not None and not path.is_file():
        names = [str(name) for name in path.parent.glob("*.py")]
        raise UserError(f"--config={path}: no such file{nearest(str(path), names)}")
    check_known(match[1] for word in argv if (match := _OVERRIDE.match(word)))
    try:
        return FLAGS(argv)[1:]
    except Exception as error:  # a config file runs arbitrary code; the library raises many kinds
        raise UserError(_one_line(error, path)) from error


def _given_config(argv: list[str]) -> Path | None:
    """The file --config names; what follows a colon is an argument of its get_config()."""
    path = _given(argv, "config")
    return Path(path.split(":")[0]) if path is not None else None


def _given(argv: list[str], flag: str) -> str | None:
    """What the command line gives for a flag, before flags are parsed."""
    given = []
    for argument, following in zip(argv, [*argv[1:], ""], strict=True):
        name, equals, value = argument.partition("=")
        if name in (f"--{flag}", f"-{flag}"):
            given.append(value if equals else following)
    if len(given) > 1:
        raise UserError(f"--{flag}: given {len(given)} times ({', '.join(given)}); give it once")
    return given[0] if given else None


def _define_config_of_run(argv: list[str]) -> None:
    workdir = _given(argv, "workdir")
    if not workdir:
        other = ", or an --artifact=model.onnx" if "artifact" in FLAGS else ""
        raise UserError(
            f"--workdir: give the folder of a trained model, --workdir=runs/digits{other}"
        )
    if _given(argv, "config") is not None:
        raise UserError("--config: is the run's own; give --config.KEY=VALUE to change a key of it")
    config = ConfigDict(run_config(as_path(workdir))).unlock()
    config_flags.DEFINE_config_dict("config", config, lock_config=False, accept_new_attributes=True)


def _one_line(error: Exception, path: Path | None) -> str:
    """What a parsing error says, in one line; for a config file's own errors with the place."""
    text = str(error)
    if isinstance(error, flags.UnrecognizedFlagError):
        known = [*FLAGS, *(f"config.{key}" for key in flatten(default_config()))]
        return f"--{error.flagname}: no such flag{nearest(error.flagname, known)}"
    if path is not None:
        if isinstance(error, SyntaxError):
            return f"{error.filename}, line {error.lineno}: {error.msg}"
        if isinstance(error, AttributeError) and "'get_config'" in text:
            return f"{path}: not an experiment file, it has no get_config()"
        # ml_collections turns some errors of the file into text, traceback and all.
        in_file = rf'File "[^"]*{re.escape(path.name)}", line (\d+)'
        places = re.findall(in_file, text)
        places += re.findall(in_file, "".join(traceback.format_tb(error.__traceback__)))
        if places:
            last_line = text.strip().splitlines()[-1].strip()
            return f"{path}, line {places[-1]}: {last_line}"
    return " ".join(text.split())


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
