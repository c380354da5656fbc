"""The house: imports go one way, and what is heavy waits until it is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jaxcnn

PACKAGE = Path(jaxcnn.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# What a room may import from, besides itself. Verbs (main, check_data, cli) may import anything.
FOUNDATION = {"at_once", "commands", "errors", "local_folder", "locks", "paths", "typecheck"}
ROOMS = {
    "core": set(),
    "at_once": set(),
    "commands": set(),
    "errors": set(),
    "local_folder": {"paths"},
    "locks": set(),
    "paths": {"errors"},
    "typecheck": set(),
    "durations": FOUNDATION,
    "data": {"core"} | FOUNDATION,
    "native": {"core"},
    "runtime": {"core", "native"} | FOUNDATION,
    "analysis": {"core"} | FOUNDATION,
    "report": {"analysis", "core", "data"} | FOUNDATION,
    "pretrained": {"core"} | FOUNDATION,
    "exports": FOUNDATION,
    "choices": {"core", "data"} | FOUNDATION,
    "values": {"analysis", "choices", "core", "data", "durations"} | FOUNDATION,
    "config": {"choices", "core", "durations", "values"} | FOUNDATION,
    "usage": {"choices", "config", "core", "durations"},
    "build": {"core", "data", "choices", "config", "durations"} | FOUNDATION,
    "build_optimizer": {"config", "core", "durations"} | FOUNDATION,
    "auto": {"build", "config", "data"} | FOUNDATION,
    "evaluation": {"core", "data", "runtime"} | FOUNDATION,
    "population": {"config", "core", "runtime"} | FOUNDATION,
    "first_state": {"build", "build_optimizer", "config", "core", "data", "durations", "runtime"}
    | FOUNDATION,
    "run": {"core", "data", "durations", "evaluation", "first_state", "runtime"} | FOUNDATION,
    "build_run": {"build", "build_optimizer", "build_parallel", "config", "core", "data"}
    | {"durations", "first_state", "population", "run", "runtime"}
    | FOUNDATION,
    "resume": {"config", "core", "data", "runtime"} | FOUNDATION,
    "member": {"config", "core", "durations", "resume", "runtime", "transfer"} | FOUNDATION,
    "build_parallel": {"core", "durations", "native", "runtime"} | FOUNDATION,
    "compiled": {"core", "run", "runtime"} | FOUNDATION,
    "training": {
        "build",
        "build_run",
        "build_parallel",
        "compiled",
        "config",
        "core",
        "data",
        "first_state",
    }
    | {"member", "resume", "run"}
    | {"runtime", "transfer"}
    | FOUNDATION,
    "learning_rate_range": {
        "analysis",
        "build_run",
        "build_parallel",
        "auto",
        "config",
        "first_state",
        "report",
        "resume",
        "run",
    }
    | {"runtime", "training", "transfer"}
    | FOUNDATION,
    "batch_size_limit": {
        "auto",
        "build_run",
        "build_parallel",
        "config",
        "data",
        "first_state",
        "resume",
        "run",
        "runtime",
    }
    | {"training"}
    | FOUNDATION,
    "assessment": {
        "analysis",
        "build",
        "config",
        "core",
        "data",
        "evaluation",
        "runtime",
        "trained",
    }
    | FOUNDATION,
    "illustration": {
        "analysis",
        "assessment",
        "core",
        "data",
        "evaluation",
        "report",
        "runtime",
        "trained",
    }
    | FOUNDATION,
    "robustness": {"analysis", "assessment", "build", "core", "evaluation", "runtime", "trained"}
    | FOUNDATION,
    "report_run": {"analysis", "assessment", "config", "illustration", "report", "robustness"}
    | {"runtime", "trained"}
    | FOUNDATION,
    "comparison": {"analysis", "config", "report", "report_run", "runtime", "trained"} | FOUNDATION,
    "trained": {"build", "build_parallel", "config", "core", "first_state", "runtime"} | FOUNDATION,
    "classifier": {"build", "core", "data", "runtime", "trained"} | FOUNDATION,
    "model_cost": {"core", "runtime"} | FOUNDATION,
    "timed_training": {"config", "core", "durations", "run", "runtime", "training"} | FOUNDATION,
    "speed": {
        "analysis",
        "build_run",
        "build_parallel",
        "compiled",
        "config",
        "core",
        "data",
        "resume",
        "run",
    }
    | {"runtime", "timed_training", "training"}
    | FOUNDATION,
    "speed_table": {"analysis", "config", "runtime"} | FOUNDATION,
    "first_step": {"analysis"} | FOUNDATION,
    "prediction": {"classifier", "core", "data"} | FOUNDATION,
    "answers": {"classifier", "prediction", "report"} | FOUNDATION,
    "exporting": {"assessment", "classifier", "data", "exports", "runtime", "trained"} | FOUNDATION,
    "serving": {"classifier", "core", "data", "report", "runtime"} | FOUNDATION,
    "check": {"build", "core", "data", "report", "runtime"} | FOUNDATION,
    "transfer": {"build", "config", "core", "pretrained", "runtime", "trained"} | FOUNDATION,
    "seeds": {"analysis", "auto", "config", "population", "report", "report_run", "runtime"}
    | {"train", "training"}
    | FOUNDATION,
    "train": {"assessment", "auto", "config", "core", "first_state", "report_run", "resume"}
    | {"runtime", "trained", "training", "tta"}
    | FOUNDATION,
    "tta": {"build", "build_parallel", "core", "run", "runtime"} | FOUNDATION,
    "search": {"choices", "config", "durations", "report", "runtime", "train", "training"}
    | FOUNDATION,
    "tuning": {
        "build_run",
        "build_parallel",
        "config",
        "durations",
        "first_state",
        "population",
        "resume",
        "run",
        "runtime",
    }
    | {"search", "training"}
    | FOUNDATION,
}
HEAVY = ("tensorflow", "tensorflow_datasets", "clu.metric_writers", "orbax", "sklearn", "cv2",
         "grain", "h5py", "safetensors", "simplejpeg", "PIL", "pydicom", "optuna", "keras",
         "fastapi", "matplotlib", "onnx", "prometheus_client", "python_multipart", "starlette",
         "uvicorn", "cmaes", "etils", "fsspec", "gcsfs")  # fmt: skip


def imports(file, top_level_only=False):
    tree = ast.parse(file.read_text())
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module


def room(module):
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_imports_go_one_way(file):
    own = file.relative_to(PACKAGE).parts[0].removesuffix(".py")
    for module in imports(file):
        if module.split(".")[0] == "jaxcnn" and own in ROOMS:
            assert room(module) in ROOMS[own] | {own}, f"{own} imports {module}"


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_heavy_libraries_are_imported_where_they_are_used(file):
    for module in imports(file, top_level_only=True):
        assert not module.startswith(HEAVY), f"{file.name} imports {module} at its top"


def test_importing_jaxcnn_loads_little_more_than_jax_flax_and_optax():
    """flax.linen imports orbax, etils and tensorstore by itself: those do not count."""
    script = "import sys, jaxcnn; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
    )
    loaded = set(done.stdout.split())
    assert "jaxcnn.core.step" in loaded
    for name in set(HEAVY) - {"etils", "orbax"}:
        assert name not in loaded
    assert "clu" not in loaded


def test_files_and_functions_stay_small():
    for file in FILES:
        text = file.read_text()
        assert text.count("\n") <= 300, f"{file.name} has grown over 300 lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                lines = node.end_lineno - node.lineno + 1
                # A function that returns one function is as long as the inner one plus its docs.
                assert lines <= 90, f"{file.name}: {node.name} has {lines} lines"
