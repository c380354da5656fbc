"""Examples that are the same, byte for byte."""

from typing import NamedTuple

import numpy as np

from jaxcnn.checking.examples import Examples
from jaxcnn.data.splits import ROLES


class Copies(NamedTuple):
    """The numbers of two or more examples with the same content, and where they stand; first one
    of each label in each split.

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
    if not len(usable):
        return []
    content = examples.content[usable]
    order = np.lexsort(content.T)  # equal ones stay in order, as the sort is stable
    new = (content[order][1:] != content[order][:-1]).any(axis=1)
    starts = np.flatnonzero(np.concatenate([[True], new]))
    ends = np.append(starts[1:], len(usable))
    copies = []
    for start, end in zip(starts[ends - starts > 1], ends[ends - starts > 1], strict=True):
        group = usable[order[start:end]]
        labels = tuple(np.unique(examples.label[group]).tolist())
        found = set(roles[group].tolist())
        roles_in_order = tuple(role for role in (*ROLES, "") if role in found)
        numbers = _told_apart(group, examples.label, roles)
        copies.append(Copies(numbers, labels, roles_in_order))
    return sorted(copies, key=lambda c: (-len(c.labels), -len(c.roles), c.numbers))


def _told_apart(group: np.ndarray, label: np.ndarray, roles: np.ndarray) -> tuple[int, ...]:
    """The numbers of a group, the first of each label in each split before the others."""
    numbers = group.tolist()
    first = set({(label[n], roles[n]): n for n in reversed(numbers)}.values())
    return (*sorted(first), *(n for n in numbers if n not in first))
