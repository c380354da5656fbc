"""What is installed is all of the package: files that are not Python's too."""

import fnmatch
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import PurePosixPath

import pytest

from tests.processes import ROOT


def tracked(*where):
    """The files that Git knows in these folders; those that are deleted are none."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    line = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *where]
    done = subprocess.run(line, cwd=ROOT, check=True, capture_output=True, text=True)
    return {name for name in done.stdout.split("\0") if name and (ROOT / name).is_file()}


def test_every_file_that_is_not_pythons_is_package_data():
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"][
        "package-data"
    ]
    kept = set()
    for package, patterns in data.items():
        folder = PurePosixPath(*package.split("."))
        kept |= {str(folder / pattern) for pattern in patterns}
    files = {name for name in tracked("jaxcnn") if not name.endswith(".py")}
    assert {PurePosixPath(name).suffix for name in files} >= {".cc", ".h", ".html", ".typed"}
    # As setuptools reads them, a * does not go over a slash.
    lost = {
        name
        for name in files
        if not any(
            name.count("/") == pattern.count("/") and fnmatch.fnmatch(name, pattern)
            for pattern in kept
        )
    }
    assert lost == set()
    stale = {pattern for pattern in kept if not fnmatch.filter(files, pattern)}
    assert stale == set()


def test_every_folder_with_modules_is_a_package():
    files = {PurePosixPath(name) for name in tracked("jaxcnn") if name.endswith(".py")}
    assert {file.parent / "__init__.py" for file in files} - files == set()


@pytest.mark.slow
def test_the_wheel_has_every_file(tmp_path):
    """Built from a copy: a build leaves folders behind, whose files would be found again."""
    for name in tracked():
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / "copy" / name)
    line = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", tmp_path, tmp_path / "copy"]
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("jaxcnn-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {name for name in names if name.startswith("jaxcnn/")} == tracked("jaxcnn")
