"""What people import: `jaxcnn` and `jaxcnn.report`, and for one release what the README named."""

import ast
import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import jaxcnn
import jaxcnn.report

ROOT = Path(jaxcnn.__file__).parents[1]
IMPORT = re.compile(
    r"^\s*(?:from (jaxcnn[\w.]*) import ([\w, ]+|\((?:[^)]*)\))|import (jaxcnn\S*))", re.M
)
PUBLIC = {"jaxcnn": jaxcnn.__all__, "jaxcnn.report": jaxcnn.report.__all__}


@pytest.mark.parametrize("name", jaxcnn.__all__)
def test_every_public_name_is_there(name):
    assert getattr(jaxcnn, name) is getattr(jaxcnn, name)
    assert name in dir(jaxcnn)


def test_editors_and_python_find_public_names_in_the_same_places():
    tree = ast.parse(Path(jaxcnn.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in block.body for alias in node.names}
    found = {name: f"jaxcnn.{home}" for name, home in jaxcnn._HOME.items()}
    assert seen == found | {"report": "jaxcnn"}
    assert {*jaxcnn.__all__} == {*seen, "__version__"}


def test_a_misspelt_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = jaxcnn.trian


def documents():
    names = ["README.md", "docs/**/*.md", "launch/*.md", "launch/*.ipynb", "experiments/*.py"]
    return [path for name in names for path in sorted(ROOT.glob(name))]


def imported(path):
    """(module, name) of all that a document imports of ours."""
    text = path.read_text()
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "code")
    for match in IMPORT.finditer(text):
        module, names, whole = match.groups()
        for name in re.findall(r"\w+", re.sub(r"#.*| as \w+", "", names or "")) or [None]:
            yield (module or whole, name)


@pytest.mark.parametrize("path", documents(), ids=lambda p: str(p.relative_to(ROOT)))
def test_documents_import_the_face_alone(path):
    for module, name in imported(path):
        assert module in PUBLIC, f"{path.name}: {module}"
        assert name is None or name in PUBLIC[module], f"{path.name}: {module}.{name}"


def test_the_readme_and_the_notebook_import_something():
    for name in ("README.md", "launch/colab.ipynb"):
        assert list(imported(ROOT / name))


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("assessment", ["assess", "find_data"]),
        ("exporting", ["export"]),
        ("illustration", ["illustrate"]),
        ("report_run", ["history"]),
        ("train", ["train", "finish"]),
        ("trained", ["load_trained"]),
        ("population", ["groups"]),
    ],
)
def test_paths_of_the_old_readme_go_on_with_a_warning(module, names):
    sys.modules.pop(f"jaxcnn.{module}", None)
    with pytest.warns(DeprecationWarning, match="goes with 0.3"):
        found = import_module(f"jaxcnn.{module}")
    for name in names:
        assert getattr(found, name) is getattr(jaxcnn, name, getattr(found, name))


def test_training_of_the_old_readme_goes_on_with_a_warning():
    with pytest.warns(DeprecationWarning, match="from jaxcnn import Training"):
        from jaxcnn.training import Training
    assert Training is jaxcnn.Training


def test_modules_of_verbs_do_not_hide_functions():
    script = (
        "import jaxcnn.evaluate, jaxcnn.export, jaxcnn.tune, jaxcnn.predict, jaxcnn\n"
        "import warnings; warnings.simplefilter('ignore')\n"
        "from jaxcnn.train import train\n"
        "assert all(map(callable, (jaxcnn.export, jaxcnn.tune, jaxcnn.train))), 'hidden'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
