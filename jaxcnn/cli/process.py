"""A command from its start to its exit code.

Exit codes: 0 done · 2 the user's mistake, one line on stderr · 1 a bug · 130 Ctrl-C · 143 SIGTERM
· 141 nobody reads the output any more · 134 another process of the run has died, or never came.
"""

import os
import shlex
import sys
import traceback
from types import ModuleType
from typing import NoReturn

from jaxcnn.cli.parsing import parse
from jaxcnn.cli.streams import checked_output
from jaxcnn.errors import UserError, this_program
from jaxcnn.files.paths import refused
from jaxcnn.runtime.preemption import Interrupted
from jaxcnn.runtime.progress import setup_logging


def run(verb: ModuleType) -> NoReturn:
    """Parses the command line, calls `verb.main` with the words that are no flags, and ends the
    process with the right exit code.

    verb: see `jaxcnn.cli.parsing.parse`.
    """
    try:
        with checked_output():
            words = parse(sys.argv, verb)
            setup_logging()
            verb.main(*words)
    except KeyboardInterrupt:
        line = "stopped; the same command starts again, from the last checkpoint if there is one"
        _end(line, 130)
    except Interrupted as error:
        from jaxcnn.runtime.distributed import is_first

        again = shlex.join([*this_program(), *sys.argv[1:]])
        if is_first():
            print(f"stopped, step {error.step} is saved; resume with: {again}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:
        line, code = _explain(error)
        if code == 1 or "--debug" in sys.argv:
            traceback.print_exc()
        _end(line and f"error: {line}", code)
    sys.exit(0)


def _explain(error: Exception) -> tuple[str, int]:
    """Returns an error as one line, "" for a bug, and the exit code."""
    if isinstance(error, UserError):
        return str(error), 2
    if (line := refused(error)) is not None:
        return line, 2
    if "jax" in sys.modules:
        from jaxcnn.runtime.distributed import is_about_others

        if is_about_others(error):
            reason = " ".join(str(error).split())[:300]
            line = f"another process of the run has died or hangs ({reason}); start again to resume"
            return line, 134
        if (line := _no_device()) is not None:
            return line, 2
    return "", 1


def _no_device() -> str | None:
    """Why JAX has no device here, and what to do; None where it has."""
    import jax

    try:
        jax.devices()
        return None
    except Exception as error:  # of its plugins; an AssertionError where there is none
        reason = " ".join(str(error).partition(" (set JAX_PLATFORMS")[0].split())[:300].rstrip(".")
    name = os.environ.get("JAX_PLATFORMS")
    where = f"JAX_PLATFORMS={name}" if name else "JAX"
    return (
        f"{where}: no such device here{reason and f' ({reason})'}; unset JAX_PLATFORMS to take "
        "what there is, set JAX_PLATFORMS=cpu, or install the JAX that has the device"
    )


def _end(line: str, code: int) -> NoReturn:
    if line:
        print(line, file=sys.stderr, flush=True)
    if "jax" in sys.modules:  # else there are no others to wait for
        from jaxcnn.runtime.distributed import leave

        leave(code)
    sys.exit(code)
