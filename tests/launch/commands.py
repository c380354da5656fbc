"""Stand-ins for the commands of a cluster, first on PATH: each notes how it was called."""

import os
import subprocess

from tests.processes import ROOT


class Commands:
    """A folder of stand-ins, each a bash script. `calls` has a line for each call, in order."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "bin").mkdir()
        (folder / "home").mkdir()

    def add(self, name, body):
        path = self.folder / "bin" / name
        note = f'echo "{name} $*" >> "$FOLDER/calls"'
        path.write_text(f"#!/usr/bin/env bash\n{note}\n{body}\n")
        path.chmod(0o755)

    def start(self, script, *arguments, **variables):
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        here = {"PATH": path, "HOME": str(self.folder / "home"), "FOLDER": str(self.folder)}
        return subprocess.Popen(
            ["bash", str(ROOT / "launch" / script), *arguments],
            cwd=ROOT,
            env=here | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, script, *arguments, **variables):
        """(exit code, stderr)"""
        return self.end(self.start(script, *arguments, **variables))

    @staticmethod
    def end(process):
        try:
            _, errors = process.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
        return process.returncode, errors

    @property
    def calls(self):
        path = self.folder / "calls"
        return path.read_text().splitlines() if path.exists() else []
