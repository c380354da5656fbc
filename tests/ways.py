"""Every way to start a command that there is here, for tests that promise something of each."""

import functools
import os
import sys
import tempfile
import tomllib
from pathlib import Path

from tests.processes import ROOT, environment

# Verbs, and the modules that start them as `python -m MODULE` for ever.
VERBS = {
    "train": "jaxcnn.main",
    "evaluate": "jaxcnn.evaluate",
    "predict": "jaxcnn.predict",
    "export": "jaxcnn.export",
    "serve": "jaxcnn.serve",
    "tune": "jaxcnn.tune",
    "benchmark": "jaxcnn.benchmark",
    "compare": "jaxcnn.compare",
    "check_data": "jaxcnn.check_data",
}


@functools.cache
def _bin() -> Path | None:
    """A folder with the script that pip would make of [project.scripts]; None if it has none."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    if "jaxcnn" not in project.get("scripts", {}):
        return None
    module, _, function = project["scripts"]["jaxcnn"].partition(":")
    _bin.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    script = Path(_bin.folder.name, "jaxcnn")
    script.write_text(
        f"#!{sys.executable}\nimport sys\nfrom {module} import {function}\n"
        f"if __name__ == '__main__':\n    sys.exit({function}())\n"
    )
    script.chmod(0o755)
    return script.parent


WAYS = {"module": lambda verb: [sys.executable, "-m", VERBS[verb]]}
if (ROOT / "jaxcnn/__main__.py").exists():
    WAYS["package"] = lambda verb: [sys.executable, "-m", "jaxcnn", verb]
if _bin() is not None:
    WAYS["script"] = lambda verb: [str(_bin() / "jaxcnn"), verb]


def clean_environment(*first: Path | str) -> dict[str, str]:
    """Of a process with one device that nobody has started again; the script is on its PATH.

    first: folders that its Python looks into before all others.
    """
    env = environment(1)
    for name in ("GLIBC_TUNABLES", "JAXCNN_STARTED_AGAIN"):
        env.pop(name, None)
    env["PYTHONPATH"] = os.pathsep.join([*map(str, first), env["PYTHONPATH"]])
    folders = [str(_bin())] if _bin() else []
    folders += [str(Path(sys.executable).parent), env["PATH"]]
    return env | {"PATH": os.pathsep.join(folders)}


def words_after_start(line: list[str]) -> list[str] | None:
    """What follows the way a command line is started by, to train; None if it is none of them."""
    head = [Path(line[0]).name.rstrip("0123456789."), *line[1:]]
    for start in (["python", "-m", "jaxcnn.main"], ["python", "-m", "jaxcnn", "train"],
                  ["jaxcnn", "train"]):  # fmt: skip
        if head[: len(start)] == start:
            return head[len(start) :]
    return None
