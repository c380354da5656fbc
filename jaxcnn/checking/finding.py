"""One thing found in a data set, and the words for it."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np


class Finding(NamedTuple):
    """One thing found. kind: its name in check.json. harm: whether it would harm training.

    what: what was found; advice: what to do about it, one sentence each.
    """

    kind: str
    harm: bool
    what: str
    advice: str


def some(names: Iterable[str], shown: int = 3) -> str:
    """The first few of many names: "a, b, c and 5 more"."""
    names = list(names)
    more = f" and {len(names) - shown:,} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def told(things: Sequence[object] | np.ndarray, one: str, many: str | None = None) -> str:
    """How many: "1 image is", "2 images are"; with the plural given, "1 class", "2 classes"."""
    if len(things) == 1:
        return f"1 {one} is" if many is None else f"1 {one}"
    return f"{len(things):,} {one}s are" if many is None else f"{len(things):,} {many}"
