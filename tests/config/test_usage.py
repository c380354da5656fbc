"""--help: every key with its default and what it is about."""

from jaxcnn.config.keys import default_config, flatten, keys_text
from jaxcnn.config.table import KEYS


def test_every_key_has_a_note():
    assert KEYS.keys() == flatten(default_config()).keys()
    assert all(key.note for key in KEYS.values())
    assert KEYS["report.at_end"].note == "make report/ when training ends"


def test_help_shows_all_keys_or_those_that_a_command_takes():
    everything = keys_text()
    some = keys_text(lambda key: key.startswith(("data.", "batch_size")))
    for key in flatten(default_config()):
        assert f"  {key} = " in everything
        assert (f"\n  {key} = " in some) == key.startswith(("data.", "batch_size"))
    assert "data.source = csv: " in some and "model.name = resnet18" not in some


def test_help_of_each_command_ends_well(command):
    for module in ("main", "check_data", "evaluate", "compare"):
        done = command("--help", module=f"jaxcnn.{module}", check=0)
        assert done.stdout.count("--debug") == 1
