"""Data looked at before training: one look at every example, and what it tells.

examples = inspect_sources(sources, how, workers)
roles = roles_of(examples, dataset, images)
findings = find(examples, roles, find_copies(examples, roles), ...)
"""

from collections.abc import Sequence

import numpy as np

from jaxcnn.checking.copies import Copies, find_copies
from jaxcnn.checking.examples import Examples, inspect_sources, roles_of
from jaxcnn.checking.faults import class_counts, classes, copied, crossing_groups, unreadable
from jaxcnn.checking.finding import Finding, some
from jaxcnn.checking.ignored import ignored_files
from jaxcnn.checking.oddities import ignored, looks, sizes
from jaxcnn.checking.summary import copies_told, summarize

__all__ = [
    "Copies",
    "Examples",
    "Finding",
    "class_counts",
    "copies_told",
    "find",
    "find_copies",
    "ignored_files",
    "inspect_sources",
    "roles_of",
    "some",
    "summarize",
]


def find(
    examples: Examples,
    roles: np.ndarray,
    copies: Sequence[Copies],
    *,
    image_size: int | None,
    on_bad_image: str,
    grouped: bool = False,
    not_used: Sequence[str] = (),
) -> list[Finding]:
    """All findings, the harmful ones first.

    roles: the split each example is in. image_size, on_bad_image: as in the config.
    grouped: whether units are groups of examples that should stay on one side of a split.
    not_used: files in the data's folder that are no part of them.
    """
    found = [
        *unreadable(examples, on_bad_image),
        *copied(examples, roles, copies),
        *(crossing_groups(examples, roles) if grouped else ()),
        *classes(examples, roles),
        *sizes(examples, image_size),
        *looks(examples),
        *ignored(not_used),
    ]
    return sorted(found, key=lambda finding: not finding.harm)
