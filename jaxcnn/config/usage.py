"""What --help prints: the keys of a config with their defaults, and what each is about."""

from collections.abc import Callable

from jaxcnn.config.choices import CHOICES
from jaxcnn.config.durations import DURATIONS
from jaxcnn.config.keys import default_config, flatten
from jaxcnn.config.table import KEYS
from jaxcnn.core.augment import AUGMENTATIONS


def keys_text(takes: Callable[[str], bool] = lambda key: True) -> str:
    """The keys that a command takes, with defaults and notes; what names choose."""
    defaults = flatten(default_config())
    defaults |= {f"{key}_{of[0]}": of[1] for key, of in DURATIONS.items() if of is not None}
    notes = key_notes()
    shown = {key: value for key, value in defaults.items() if takes(key)}
    lines = ["", "Keys and their defaults, --config.KEY=VALUE:"]
    for key, value in shown.items():
        line = f"  {key} = {value!r}"
        lines.append(f"{line:<42}  {notes[key]}")
    choices = [choice for choice in CHOICES.values() if takes(choice.key)]
    lines += ["", "What a name chooses takes keywords of its own, --config.PART.KEYWORD=VALUE:"]
    for choice in choices:
        for name in choice.registry():
            known = ", ".join(choice.keywords(name))
            lines.append(f"  {choice.key} = {name}" + (f": {known}" if known else ""))
    if "augment" in shown:
        lines += ["", f"augment is a tuple of {', '.join(AUGMENTATIONS)}, or (name, number) with"]
        lines += ["what the operation takes, such as --config.augment=\"(('crop', 4), 'flip')\""]
    return "\n".join(lines)


def key_notes() -> dict[str, str]:
    """{key: what it is about}."""
    return {name: key.note for name, key in KEYS.items()}
