"""Commands that are kept as text."""

import sys

import pytest

from jaxcnn.errors import without_password
from jaxcnn.files.rundir import environment


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
