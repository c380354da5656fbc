"""The house: imports go one way, and what is heavy waits until it is used."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jaxcnn

PACKAGE = Path(jaxcnn.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))

# From the ground up: a room may import those before it, never those after it.
ROOMS = (
    "errors", "core", "native", "analysis", "files", "data", "runtime", "config",
    "report", "builders", "inference", "checking", "evaluation", "serving", "pretrained",
    "training", "exports", "search", "timing", "cli",
)  # fmt: skip
# What stands beside the rooms: the face, the ways to start a verb, and names of the last release.
BESIDE = {
    "__init__", "__main__", "main", "evaluate", "predict", "export", "serve", "tune", "benchmark",
    "check_data", "compare", "deprecated",
}  # fmt: skip

HEAVY = ("tensorflow", "tensorflow_datasets", "clu.metric_writers", "orbax", "scipy", "sklearn",
         "cv2", "grain", "h5py", "safetensors", "simplejpeg", "PIL", "pillow_heif", "pydicom",
         "optuna", "keras", "fastapi", "matplotlib", "onnx", "prometheus_client",
         "python_multipart", "starlette", "uvicorn", "cmaes", "etils", "fsspec",
         "gcsfs")  # fmt: skip


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
    if own in BESIDE:
        return
    for module in imports(file):
        if module.split(".")[0] == "jaxcnn":
            assert ROOMS.index(room(module)) <= ROOMS.index(own), f"{own} imports {module}"


def test_core_imports_nothing_of_ours_outside_it():
    for file in (PACKAGE / "core").rglob("*.py"):
        for module in imports(file):
            assert not module.startswith("jaxcnn") or room(module) == "core", f"{file}: {module}"


def test_the_house_has_rooms_and_a_dozen_files():
    names = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    assert names == {*ROOMS, *BESIDE}
    assert len(list(PACKAGE.glob("*.py"))) <= 13


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))
def test_heavy_libraries_are_imported_where_they_are_used(file):
    for module in imports(file, top_level_only=True):
        assert not module.startswith(HEAVY), f"{file.name} imports {module} at its top"


def modules_after(script):
    done = subprocess.run(
        [sys.executable, "-c", f"import sys\n{script}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
        cwd=PACKAGE.parent,
    )
    return set(done.stdout.split())


def test_importing_jaxcnn_imports_nothing_else():
    loaded = modules_after("import jaxcnn")
    assert {name for name in loaded if name.startswith("jaxcnn")} == {"jaxcnn"}
    assert not loaded & {"jax", "flax", "numpy", "optax", "ml_collections", "absl"}


def test_the_train_step_loads_little_more_than_jax_flax_and_optax():
    """flax.linen imports orbax, etils and tensorstore by itself: those do not count."""
    loaded = modules_after("import jaxcnn; jaxcnn.make_train_step")
    assert "jaxcnn.core.step" in loaded
    for name in set(HEAVY) - {"etils", "orbax"}:
        assert name not in loaded
    assert "clu" not in loaded


def test_files_and_functions_stay_small():
    for file in FILES:
        text = file.read_text()
        assert text.count("\n") <= 500, f"{file.name} has grown over 500 lines"
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                lines = node.end_lineno - node.lineno + 1
                # A function that returns one function is as long as the inner one plus its docs.
                assert lines <= 90, f"{file.name}: {node.name} has {lines} lines"
