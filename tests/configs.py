"""Configs as a file would return them, and what is told of their mistakes."""

import pytest

from jaxcnn.config import default_config, resolve
from jaxcnn.errors import UserError


def given(**values):
    """A config as a file would return it; `__` stands for a dot, the length is 1 epoch."""
    config = default_config()
    values = {key.replace("__", "."): value for key, value in values.items()}
    if not any(key in values for key in ("num_steps", "num_epochs", "num_examples")):
        values["num_epochs"] = 1.0
    with config.ignore_type():
        for key, value in values.items():
            *parts, leaf = key.split(".")
            part = config
            for name in parts:
                part = part[name]
            part[leaf] = value
    return config


def message_of(overrides=(), **values):
    with pytest.raises(UserError) as error:
        resolve(given(**values), overrides)
    message = str(error.value)
    assert "\n" not in message
    return message
