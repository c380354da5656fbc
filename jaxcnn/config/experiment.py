"""Experiment files: recipes and files of one's own, and what such a file defines itself.

A name in a config (of a model, a loss, an optimizer, a schedule, a data source, an augmentation) is
looked up in three places, in this order:

1. the names that jaxcnn knows, such as "cnn";
2. the experiment file, `config.experiment`: a class or function that it defines or imports, or one
   that it puts into a registry such as `jaxcnn.MODELS`;
3. "package.module:Name": whatever can be imported, also from the current directory.

A run keeps a copy of its experiment file beside its config.json. Whoever opens the run executes
that copy where the config names something of it; so open only runs that you trust.
"""

import ast
import importlib
import linecache
import re
import sys
import traceback
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any

from ml_collections import ConfigDict

from jaxcnn.core.augment import AUGMENTATIONS
from jaxcnn.core.losses import LOSSES
from jaxcnn.core.models import MODELS
from jaxcnn.core.optim import SCHEDULES
from jaxcnn.data import SOURCES
from jaxcnn.errors import UserError, nearest
from jaxcnn.files.paths import as_path
from jaxcnn.files.rundir import CONFIG, has_run

_REGISTRIES: tuple[dict[str, Any], ...] = (MODELS, LOSSES, SCHEDULES, SOURCES, AUGMENTATIONS)


# The names of each that are jaxcnn's; one's own may be registered before this module is imported.
_OURS = [
    frozenset(k for k, v in one.items() if getattr(v, "func", v).__module__.startswith("jaxcnn."))
    for one in _REGISTRIES
]

# The experiment files that were executed, by their paths.
_modules: dict[str, ModuleType] = {}

# The file of each `load_experiment` that has set config.experiment, in order.
_set: list[str] = []


def recipes() -> dict[str, Path]:
    """Returns {name: file} of jaxcnn's recipes; in a checkout, of the folder experiments/."""
    package = Path(__file__).parents[1]
    folders = package / "recipes", package.parent / "experiments"
    folder = next(filter(Path.is_dir, folders), folders[0])
    return {path.stem: path for path in sorted(folder.glob("*.py"))}


def config_file(name: str) -> Path | None:
    """Returns the config.json that `name` is, or that is in the run directory `name`; else None."""
    path = as_path(name)
    if has_run(path):
        return path / CONFIG
    return path if path.suffix == ".json" and _split(name)[1] is None else None


def _split(name: str) -> tuple[str, str | None]:
    """Returns (a file or a recipe, its argument), None where no colon ends the name of a file;
    folders may have colons in their names.
    """
    if name.startswith("gs:") or Path(name).expanduser().exists():
        return name, None
    known = recipes()
    for colon in re.finditer(":", name):
        path = name[: colon.start()]
        if path in known or Path(path).expanduser().is_file():
            return path, name[colon.end() :]
    path, _, argument = name.partition(":")
    return (path, argument) if argument and "/" not in argument else (name, None)


def find_experiment(name: str) -> Path:
    """Returns the file that `name` stands for: a path or a recipe, with its argument after a colon,
    or a run; raises UserError.
    """
    if (file := config_file(name)) is not None:
        return file
    name = _split(name)[0]
    path, known = Path(name).expanduser(), recipes()
    if path.is_file():
        return path
    if name in known:
        return known[name]
    if path.is_dir():
        raise UserError(f"--config={name}: is a folder; give one of the experiment files in it")
    close = nearest(name, [*map(str, path.parent.glob("*.py")), *known])
    if path.suffix or path.parent != Path():
        raise UserError(f"--config={name}: no such file{close}")
    raise UserError(
        f"--config={name}: no such recipe{close}; give the name of one ({', '.join(known)}), or "
        "the path of an experiment file"
    )


def load_experiment(name: str) -> ConfigDict:
    """Returns what the get_config() of an experiment file gives, unresolved; raises UserError.

    name: a file or a recipe; what follows a colon is an argument of get_config().
    """
    path = find_experiment(name)
    argument = _split(name)[1]
    module = load_module(str(path), reload=True)
    if not callable(get_config := getattr(module, "get_config", None)):
        raise UserError(f"{path}: not an experiment file, it has no get_config()")
    before = len(_set)
    try:
        config = get_config() if argument is None else get_config(argument)
    except UserError:
        raise
    except Exception as error:  # it is the user's code, and may raise anything
        raise UserError(line_of(error, str(path))) from error
    if not isinstance(config, ConfigDict):
        raise UserError(f"{path}: get_config() returns {config!r}; expected a config")
    # What get_config() has loaded to begin with stays the file only where the config needs it.
    inner = config.get("experiment")
    if not inner or (inner in _set[before:] and not _needs(config, inner, module)):
        with config.unlocked():
            config.experiment = str(path)
        _set.append(str(path))
    return config


def _needs(config: ConfigDict, inner: str, outer: ModuleType) -> bool:
    """Whether a config names something that only the inner of two experiment files has."""
    parts = [part for part in config.values() if isinstance(part, ConfigDict)]
    named = [part.get(key) for part in parts for key in ("name", "source")]
    named += [
        one[0] if isinstance(one, tuple) and one else one for one in config.get("augment") or ()
    ]
    return any(_has(_modules[inner], one) and not _has(outer, one)
               for one in named if isinstance(one, str))  # fmt: skip


def _has(module: ModuleType, name: str) -> bool:
    own = module.__registered__.values()
    return any(name in names for names in own) or callable(getattr(module, name, None))


def load_module(path: str, reload: bool = False) -> ModuleType:
    """Returns an experiment file as a module, executed once in a process; raises UserError.

    reload: execute it again where it has changed since.
    """
    module = _modules.get(path)
    if module is not None and not reload:
        return module
    source = _read(path)
    if module is not None and module.__source__ == source:
        return module
    digest = sha256(f"{path}\n{source}".encode()).hexdigest()
    module = ModuleType(f"jaxcnn_experiment_{digest[:16]}")
    vars(module).update(__file__=path, __source__=source, __registered__={})
    before = [dict(registry) for registry in _REGISTRIES]
    sys.modules[module.__name__] = module  # where linen looks up the names in its type hints
    linecache.cache[path] = (len(source), None, source.splitlines(keepends=True), path)
    try:
        exec(compile(source, path, "exec"), vars(module))
    except UserError:
        raise
    except Exception as error:  # it is the user's code, and may raise anything
        raise UserError(line_of(error, path)) from error
    for registry, old, ours in zip(_REGISTRIES, before, _OURS, strict=True):
        own = {name: value for name, value in registry.items() if value is not old.get(name)}
        for name in own.keys() & ours:
            registry[name] = old[name]
            raise UserError(f"{path}: registers {name!r}, which jaxcnn has itself; rename it")
        module.__registered__[id(registry)] = own
    _modules[path] = module
    return module


def find_name(
    key: str, name: str, registry: Mapping[str, Any], experiment: str
) -> Callable[..., Any] | None:
    """Returns what a name in a config stands for, None for an unknown one; raises UserError.

    key: of the config, for messages. experiment: the path of the experiment file, or "".
    """
    if ":" in name:
        return _imported(key, name)
    if is_ours(name, registry):
        if experiment in _modules and _defines(_modules[experiment], name):
            raise UserError(
                f"config.{key}={name!r}: {experiment} defines {name!r}, and so does jaxcnn; rename "
                "it there"
            )
        return registry[name]
    if experiment:
        module = load_module(experiment)
        own = module.__registered__.get(id(registry), {}).get(name, getattr(module, name, None))
        if own is not None and not callable(own):
            raise UserError(
                f"config.{key}={name!r}: {name} of {experiment} is {own!r}; expected a class or a "
                "function"
            )
        if own is not None:
            return own
    return registry.get(name)


def known_names(registry: Mapping[str, Any], experiment: str) -> list[str]:
    """Returns the names that `find_name` knows, for messages."""
    module = _modules.get(experiment, ModuleType(""))
    return [*registry, *(name for name in vars(module) if _defines(module, name))]


def _defines(module: ModuleType, name: str) -> bool:
    """Whether a class or function is defined in an experiment file, not imported there."""
    own = getattr(module, name, None)
    return callable(own) and getattr(own, "__module__", None) == module.__name__


def is_ours(name: str, registry: Mapping[str, Any]) -> bool:
    """Whether a name is one that jaxcnn comes with."""
    pairs = zip(_REGISTRIES, _OURS, strict=True)
    return name in next((ours for one, ours in pairs if one is registry), registry)


def source_of(experiment: str) -> str:
    """Returns the text of an experiment file, as it was executed if it was."""
    module = _modules.get(experiment)
    return module.__source__ if module is not None else _read(experiment)


def experiment_record(experiment: str) -> dict[str, Any]:
    """Returns the part of `environment.json` about an experiment file: its path and SHA-256."""
    if not experiment:
        return {}
    digest = sha256(source_of(experiment).encode()).hexdigest()
    return {"experiment": {"path": experiment, "sha256": digest}}


def definitions(source: str) -> str:
    """Returns what a file defines, to compare: without its docstring, get_config() and search()."""
    try:
        nodes = ast.parse(source).body
    except (SyntaxError, ValueError):  # a damaged copy; who executes it says so
        return source
    body = [
        node
        for node in nodes
        if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))
        and getattr(node, "name", None) not in ("get_config", "search")
    ]
    return ast.dump(ast.Module(body, []))


def line_of(error: Exception, path: str) -> str:
    """Returns what the code in a file raised, in one line with the place."""
    text = " ".join(f"{error}".split())
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    lines = [frame.lineno for frame in frames if frame.filename == path]
    if isinstance(error, ModuleNotFoundError):
        text += "; install it, or put the folder that holds it into PYTHONPATH"
    kind = "" if isinstance(error, NameError | ImportError) else type(error).__name__
    return f"{path}, line {lines[-1] if lines else '?'}: {kind}{': ' * bool(kind)}{text}"


def _read(path: str) -> str:
    try:
        return as_path(path).read_text("utf-8")
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; the config names what it defines") from error
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable ({error})") from error


def _imported(key: str, name: str) -> Callable[..., Any]:
    """Returns what "package.module:Name" stands for; raises UserError."""
    where = f"config.{key}={name!r}"
    module_name, _, attribute = name.partition(":")
    if not re.fullmatch(r"\w+(\.\w+)*:\w+", name) or module_name.endswith(".py"):
        raise UserError(
            f"{where}: expected package.module:Name; what the experiment file defines is named "
            "without the file"
        )
    here = str(Path.cwd())
    if not {"", here} & set(sys.path):
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise UserError(f"{where}: {module_name} cannot be imported: {error}") from error
        raise UserError(
            f"{where}: there is no module {error.name!r}; install the package that has it, start "
            "in the folder that holds it, or put that folder into PYTHONPATH"
        ) from error
    except Exception as error:  # it is the user's code, and may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(f"{where}: {module_name} cannot be imported: {reason}") from error
    value = getattr(module, attribute, None)
    if not callable(value):
        close = nearest(attribute, [n for n, v in vars(module).items() if callable(v)])
        raise UserError(f"{where}: {module_name} has no class or function {attribute!r}{close}")
    return value
