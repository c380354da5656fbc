"""Commands that are kept as text."""

import sys
from importlib.metadata import PackageNotFoundError

import pytest

from jaxcnn.errors import without_password
from jaxcnn.files.rundir import environment, versions


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:secret@host/db", "postgresql://u:...@host/db"),
        ("--storage=postgresql://u:sec/ret@host/db", "--storage=postgresql://u:...@host/db"),
        ("mysql://u:sec@ret@host/db --seed=1", "mysql://u:...@host/db --seed=1"),
        ("x://host/db?user=u&password=secret", "x://host/db?user=u&password=..."),
        ("'x://host?sslpassword=secret&a=b'", "'x://host?sslpassword=...&a=b'"),
        ("grpc://localhost:13000", "grpc://localhost:13000"),
        ("--config.data.dir=a@b:c", "--config.data.dir=a@b:c"),
    ],
)
def test_passwords_of_addresses_are_not_shown(text, shown):
    assert without_password(text) == shown


def test_the_environment_of_a_run_has_no_password(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["tune.py", "--storage=postgresql://u:secret@host/db"])
    assert environment()["command"][1:] == ["tune.py", "--storage=postgresql://u:...@host/db"]


def test_the_environment_of_a_run_has_a_command_that_starts(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["jaxcnn train", "--config", "digits"])
    words = ["-m", "jaxcnn", "train", "--config", "digits"]
    assert environment()["command"] == [sys.executable, *words]


def test_the_smaller_tensorflow_is_named_too(monkeypatch):
    there = {"tensorflow-cpu": "2.21.0", "jax": "0.10.2"}

    def version(name):
        if name not in there:
            raise PackageNotFoundError(name)
        return there[name]

    monkeypatch.setattr("jaxcnn.files.rundir.version", version)
    assert (versions()["tensorflow"], versions()["clu"]) == ("2.21.0", None)
