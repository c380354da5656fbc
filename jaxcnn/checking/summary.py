"""The numbers of a checked data set, as `check.json` keeps them."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcnn.checking.copies import Copies
from jaxcnn.checking.examples import Examples
from jaxcnn.checking.faults import class_counts
from jaxcnn.checking.finding import Finding


def summarize(
    examples: Examples,
    roles: np.ndarray,
    copies: Sequence[Copies],
    findings: Sequence[Finding],
    ignored_files: Sequence[str],
) -> dict[str, Any]:
    """All numbers; lists of examples are in the tables beside it.

    mean, std: of the pixels of train over 0..1, by channel; one number where all channels agree.
    sizes: [height, width, how many], the commonest first.
    """
    usable, names = examples.usable, examples.class_names
    counts = class_counts(examples, roles)
    train = np.flatnonzero(roles == "train")
    present = counts["train"][counts["train"] > 0] if "train" in counts else np.ones(1)
    return {
        "images": len(examples),
        "clean": not any(finding.harm for finding in findings),
        "findings": [finding._asdict() for finding in findings],
        "identity": {part: source.identity for part, source in examples.sources.items()},
        "splits": {role: int((roles == role).sum()) for role in counts},
        "classes": {
            name: {role: int(count[k]) for role, count in counts.items()}
            for k, name in enumerate(names)
        },
        "imbalance": float(present.max() / present.min()),
        "unreadable": len(examples.bad),
        "formats": _counted(examples.format[n] for n in usable),
        "modes": _counted(examples.mode[n] for n in usable),
        "sizes": _sizes(examples.size[usable]),
        "shorter_side": _spread(examples.size[usable].min(axis=1)),
        "longer_side": _spread(examples.size[usable].max(axis=1)),
        **_statistics(examples, train),
        "duplicates": {
            "images": len(copies),
            "copies": sum(len(group.numbers) - 1 for group in copies),
            "under_two_labels": sum(len(group.labels) > 1 for group in copies),
            "in_two_splits": sum(len(group.roles) > 1 for group in copies),
        },
        "ignored_files": len(ignored_files),
    }


def copies_told(counts: Mapping[str, int]) -> str:
    """One line about the identical examples. counts: "duplicates" of what `summarize` gives."""
    copies, images = counts["copies"], counts["images"]
    return (
        f"{copies:,} identical {'copy' if copies == 1 else 'copies'}: {images:,} "
        f"{'image occurs' if images == 1 else 'images occur'} more than once, "
        f"{counts['under_two_labels']:,} under more than one label, "
        f"{counts['in_two_splits']:,} in more than one split"
    )


def _counted(names: Any) -> dict[str, int]:
    return dict(Counter(names).most_common())


def _sizes(size: np.ndarray) -> list[list[int]]:
    found, count = np.unique(size, axis=0, return_counts=True)
    order = np.argsort(-count, kind="stable")
    return np.column_stack([found, count])[order].tolist()


def _spread(side: np.ndarray) -> dict[str, int]:
    if not len(side):
        return {}
    return {"least": int(side.min()), "median": int(np.median(side)), "most": int(side.max())}


def _statistics(examples: Examples, train: np.ndarray) -> dict[str, list[float]]:
    if not len(train):
        return {"mean": [], "std": []}
    mean, std = examples.statistics(train)
    channels = 1 if (examples.sums[train] == examples.sums[train, :1]).all() else 3
    return {"mean": mean[:channels], "std": std[:channels]}
