"""Examples that are the same, byte for byte."""

from typing import NamedTuple

import numpy as np

from jaxcnn.data.check.examples import Examples


class Copies(NamedTuple):
    """The numbers of two or more examples with the same content, and where they stand.

    labels, roles: the different ones among them.
    """

    numbers: tuple[int, ...]
    labels: tuple[int, ...]
    roles: tuple[str, ...]


def find_copies(examples: Examples, roles: np.ndarray) -> list[Copies]:
    """All groups of examples that are the same; first those that do harm.

    roles: the split each example is in, see `roles_of`.
    """
    usable = examples.usable
    content = examples.content[usable]
    order = np.lexsort(content.T)  # equal ones stay in order, as the sort is stable
    same = (content[order][1:] == content[order][:-1]).all(axis=1)
    groups = np.split(usable[order], np.flatnonzero(~same) + 1)
    copies = [
        Copies(
            tuple(group.tolist()),
            tuple(np.unique(examples.label[group]).tolist()),
            tuple(dict.fromkeys(sorted(roles[group].tolist(), key=_ORDER.index))),
        )
        for group in groups
        if len(group) > 1
    ]
    return sorted(copies, key=lambda c: (-len(c.labels), -len(c.roles), c.numbers))


_ORDER = ("train", "validation", "test", "")
