"""Trained weights in a fresh model: what is taken, what stays new, and what makes no sense.

Nothing is missing in silence: but for the classifier and what the user lists, every array of the
model must be found and every tensor be used.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.errors import UserError
from jaxcnn.pretrained.convert import Converted, convert, named_arrays, replace_arrays
from jaxcnn.pretrained.names import Rules

PyTree = Any

_NAMED = 3  # of what is wrong, in an error


class Loaded(NamedTuple):
    """variables: of the model, with the weights.

    taken: (their name, ours). new: our names whose values stay as they were drawn, with the reason.
    ignored: their names.
    """

    variables: dict[str, PyTree]
    taken: list[tuple[str, str]]
    new: dict[str, str]
    ignored: list[str]

    def __str__(self) -> str:
        """A line for each array and tensor."""
        lines = [f"taken    {ours} <- {theirs}" for theirs, ours in self.taken]
        lines += [f"new      {ours}: {reason}" for ours, reason in self.new.items()]
        return "\n".join(lines + [f"ignored  {theirs}" for theirs in self.ignored])


def load_tensors(
    state_dict: Mapping[str, np.ndarray],
    rules: Rules,
    fresh: Mapping[str, PyTree],
    *,
    head: Collection[str],
    take_head: bool | None = None,
    ignore: Sequence[str] = (),
    channels: int = 3,
) -> Loaded:
    """The tensors of another library (see `jaxcnn.pretrained.convert`) in a model of ours.

    fresh: {"params": ..., "batch_stats": ...} as they were drawn.
    head: our names of the arrays whose shapes follow from the number of classes.
    take_head: whether those are taken. None: where all fit.
    ignore: regular expressions of their names that may have no place here.
    channels: of the images.
    Raises UserError, one line, where model and tensors are not of one architecture.
    """
    ignored = [name for name in state_dict if any(re.fullmatch(p, name) for p in ignore)]
    rest = {name: tensor for name, tensor in state_dict.items() if name not in ignored}
    converted = convert(rest, rules, fresh)
    return _check_loaded(converted, fresh, head, take_head, ignored, channels)


def load_variables(
    variables: Mapping[str, PyTree],
    fresh: Mapping[str, PyTree],
    *,
    head: Collection[str],
    take_head: bool | None = None,
    channels: int = 3,
    other_classes: bool = False,
) -> Loaded:
    """The same for variables of a model of ours.

    other_classes: its head is of other classes, and taken only where `take_head` asks for it.
    """
    theirs, ours = named_arrays(variables), named_arrays(fresh)
    fits = {n: theirs[n] for n in ours if n in theirs and theirs[n].shape == ours[n].shape}
    converted = Converted(
        replace_arrays(fresh, fits),
        [(name, name) for name in fits],
        [(n, theirs[n].shape, n, ours[n].shape) for n in ours if n in theirs and n not in fits],
        [name for name in theirs if name not in ours],
        [name for name in ours if name not in fits],
    )
    return _check_loaded(converted, fresh, head, take_head, [], channels, other_classes)


def _check_loaded(
    converted: Converted,
    fresh: Mapping[str, PyTree],
    head: Collection[str],
    take_head: bool | None,
    ignored: list[str],
    channels: int,
    other_classes: bool = False,
) -> Loaded:
    """What was converted, with a classifier taken whole or not at all; or a UserError."""
    ours = named_arrays(fresh)
    fits = bool(head) and not {*head} & {*converted.missing}
    new_head = take_head is False or (take_head is None and (other_classes or not fits))
    allowed = {*head} if new_head else set()
    _check_channels(converted, channels)
    misfits = [m for m in converted.misfits if m[2] not in allowed]
    absent = {*converted.missing} - {place for _, _, place, _ in converted.misfits}
    missing = [name for name in converted.missing if name in absent - allowed]
    if missing or misfits or converted.left_over:
        raise UserError(_not_one_architecture(converted, missing, misfits, len(ours)))
    their_shapes = {place: (theirs, shape) for theirs, shape, place, _ in converted.misfits}
    new = {}
    for name in sorted(allowed):
        new[name] = "of other classes" if other_classes else "as the rest of the classifier"
        if take_head is False:
            new[name] = "not asked for"
        if name in absent:
            new[name] = "none there"
        if name in their_shapes:
            theirs, shape = their_shapes[name]
            new[name] = f"{theirs} is {_size(shape)}, this is {_size(ours[name].shape)}"
    return Loaded(
        replace_arrays(converted.variables, {name: ours[name] for name in new}),
        [(theirs, place) for theirs, place in converted.loaded if place not in new],
        new,
        ignored,
    )


def _check_channels(converted: Converted, channels: int) -> None:
    """UserError where weights of colour images meet grey ones, or the other way round."""
    for _, theirs, _, ours in converted.misfits:
        if len(ours) == 4 and ours[2] == channels and theirs[2] in {1, 3} - {channels}:
            other = (*ours[:2], theirs[2], ours[3])
            if theirs == other:
                raise UserError(
                    f"the weights are for images of {theirs[2]} channels, not of {channels}: "
                    f"--config.data.channels={theirs[2]} reads them so"
                )


def _not_one_architecture(
    converted: Converted, missing: list[str], misfits: list[Any], count: int
) -> str:
    reasons = []
    if missing:
        reasons.append(
            f"{len(missing)} of the model's {count} arrays are not there{_some(missing)}"
        )
    if misfits:
        shapes = [f"{n} is {_size(theirs)}, not {_size(o)}" for n, theirs, _, o in misfits]
        reasons.append(f"{len(misfits)} have another shape{_some(shapes)}")
    if converted.left_over:
        names = converted.left_over
        reasons.append(f"{len(names)} tensors have no place in the model{_some(names)}")
    do = "is it another architecture? Names can be given in config.pretrained.names"
    if not (missing or misfits):
        do = "give the model they are of, or list what to leave out in config.pretrained.ignore"
    return f"the weights do not fit: {', '.join(reasons)}; {do}"


def _some(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _NAMED else ""
    return f" ({', '.join(names[:_NAMED])}{more})"


def _size(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "one number"
