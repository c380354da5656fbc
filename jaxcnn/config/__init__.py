"""The config of a run: its keys, their defaults and checks.

An experiment file is a Python file with a function `get_config()` that begins with
`default_config()`; `resolve` turns what it returns into a config without mistakes.
"""

from jaxcnn.config.keys import default_config, load_config, resolve

__all__ = ["default_config", "load_config", "resolve"]
