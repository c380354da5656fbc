"""Measurements made several times: their medians and quartiles; and those of `jaxcnn benchmark` as
JSON, as a table, and two of them side by side.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ml_collections import ConfigDict

from jaxcnn.config.keys import flatten
from jaxcnn.errors import UserError
from jaxcnn.files.rundir import environment, read_json

SPEED_FILE = "speed.json"
# With fewer measurements it is not said whether two things differ.
FEWEST = 5


class Spread(NamedTuple):
    """The median of some measurements and their quartiles, between which half of them lie.

    values: in the order they were made.
    """

    median: float
    low: float
    high: float
    values: tuple[float, ...]


def spread(values: Sequence[float] | np.ndarray) -> Spread:
    """The median and the quartiles of one value or more: a few rounds that another program on the
    machine has slowed down move a mean and a standard deviation a lot, and these hardly.
    """
    low, median, high = np.percentile(values, (25, 50, 75)).tolist()
    return Spread(median, low, high, tuple(map(float, values)))


def apart(one: Spread, other: Spread) -> bool | None:
    """Whether the quartiles do not overlap; None where a side was measured less than FEWEST times:
    by luck those of equal things lie apart too, of 5 values in one of five, of 7 in one of twelve.
    """
    if min(len(one.values), len(other.values)) < FEWEST:
        return None
    return one.low > other.high or other.low > one.high


def in_rounds(
    ways: Sequence[Callable[[], Mapping[str, float]]], rounds: int, done: Callable[[int], Any]
) -> dict[str, list[float]]:
    """What all ways have measured, by name, a value each round.

    Each round goes through them the other way round than the one before it, so that a machine that
    becomes slower or faster meanwhile is as unkind to the first as to the last.
    done: called with the number of each round at its end, from 1.
    """
    measured: dict[str, list[float]] = {}
    for number in range(rounds):
        for way in ways[:: 1 if number % 2 == 0 else -1]:
            for name, value in way().items():
                measured.setdefault(name, []).append(value)
        done(number + 1)
    return measured


class Measure(NamedTuple):
    """A line of the table. less: whether less is better. about: what the number is."""

    label: str
    less: bool
    about: str


MEASURES = {
    "images_per_second": Measure("images/s", False, "the compiled step, one batch over and over"),
    "steps_per_second": Measure("steps/s", False, "the same"),
    "bare_step_ms": Measure("bare step, ms", True, "the same without augmentation"),
    "step_ms": Measure("step, ms", True, "with augmentation"),
    "batches_step_ms": Measure("with real batches, ms", True, "a step, on batches as they come"),
    "loop_step_ms": Measure("the whole loop, ms", True, "a step, with log lines"),
    "checkpoint_ms": Measure("a checkpoint, ms", True, "until it is on the disk"),
    "end_to_end_ms": Measure("end to end, ms", True, "a step of the loop, its share of the latter"),
    "end_to_end_images_per_second": Measure("end to end, images/s", False, "the same"),
    "augmentation_percent": Measure("augmentation, %", True, "above the bare step"),
    "input_bound_percent": Measure("input-bound, %", True, "of a step with real batches"),
    "data_wait_percent": Measure("waiting for data, %", True, "of the loop, as its log says"),
    "loop_percent": Measure("loop and checkpoints, %", True, "above a step with real batches"),
    "end_to_end_percent": Measure("end to end, %", True, "above the bare step"),
    "end_to_end_cpu_percent": Measure("end to end, CPU time, %", True, "above the bare step's"),
    "mfu_percent": Measure("MFU, %", False, "the step's arithmetic over the devices' peak"),
    "evaluation_images_per_second": Measure("evaluation, images/s", False, "exact, its metrics"),
    "evaluation_ratio": Measure("evaluation / training", False, "of images/s"),
    "compile_s": Measure("compiling, s", True, "all steps, with an empty cache"),
    "first_step_cold_s": Measure("first step, cold, s", True, "from the return key, empty cache"),
    "first_step_warm_s": Measure("first step, warm, s", True, "the same again"),
    "device_memory_peak_mb": Measure("peak memory, MB", True, "of the fullest device"),
    "process_memory_peak_mb": Measure("peak memory, MB", True, "of this process"),
}


def report(
    config: ConfigDict,
    experiment: str,
    measured: Mapping[str, Spread],
    work: Mapping[str, Any],
    load_before: float | None,
) -> dict[str, Any]:
    """The content of `speed.json`: all that was measured, also what no table shows.

    load_before: `machine_load` when measuring began.
    """
    return {
        "experiment": experiment,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "measured": {name: found._asdict() for name, found in measured.items()},
        "work": dict(work),
        "cores": os.cpu_count(),
        "load": [load_before, machine_load()],
        "environment": environment(),
        "config": config.to_dict(),
    }


def machine_load() -> float | None:
    """How many threads wanted a core, a mean over the last minute; None where nobody counts."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def read_report(path: Path) -> dict[str, Any]:
    """A `speed.json`, or that of a folder; UserError where there is none."""
    file = path / SPEED_FILE if path.is_dir() else path
    content = read_json(file)
    if content is None:
        raise UserError(
            f"{file}: no such file; make one with jaxcnn benchmark --config FILE --output={path}"
        )
    if not isinstance(content, dict) or not {"measured", "config", "environment", "load"} <= set(
        content
    ):
        raise UserError(f"{file}: not made by jaxcnn benchmark --config FILE")
    return content


def table(content: Mapping[str, Any]) -> str:
    """A report for a terminal."""
    work, environment = content["work"], content["environment"]
    shape = "x".join(map(str, work["image_shape"]))
    before, after = content["load"]
    lines = [
        f"{content['experiment']}: {work['batch_size']:,} images of {shape} a step, on "
        f"{_devices(environment)}, {content['cores']} cores",
        f"{work['rounds']} rounds of {work['steps_of_a_round']} steps; evaluated: "
        f"{work['evaluated']}; a checkpoint every {work['checkpoint_every_steps']:.4g} steps; "
        f"load {before}, {after} at the end",
        "",
        f"{'':24} {'median':>9}  {'quartiles':>18}",
    ]
    measured = _measured(content)
    for name, found in measured.items():
        measure = MEASURES[name]
        between = f"{_shown(found.low)} to {_shown(found.high)}" if len(found.values) > 1 else ""
        lines.append(
            f"{measure.label:24} {_shown(found.median):>9}  {between:>18}  {measure.about}"
        )
    if "mfu_percent" not in measured:
        lines.append(f"{'MFU':24} {'unknown':>9}  {'':18}  no peak is known of such devices")
    if _is_busy(content):
        lines += ["", "the machine was busy before: times are too long, and ratios rather hold"]
    return "\n".join(lines)


def side_by_side(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """Two reports: what was measured in both, and what is different about them.

    A difference is within the spread where the quartiles of the two overlap.
    """
    ours, theirs = _measured(a), _measured(b)
    lines = [f"{'':24} {'a':>9} {'b':>9} {'b / a':>8}"]
    for name, one in ours.items():
        if (other := theirs.get(name)) is None:
            continue
        line = f"{MEASURES[name].label:24} {_shown(one.median):>9} {_shown(other.median):>9} "
        if name.endswith("_percent") or name == "checkpoint_ms":  # differences may be around 0
            line += f"{other.median - one.median:>+8.1f}"
        else:
            line += f"{other.median / one.median:>7.2f}x"
        if differ := apart(one, other):
            verdict = "better" if (other.median < one.median) == MEASURES[name].less else "worse"
        else:
            verdict = "too few to tell" if differ is None else "within the spread"
        lines.append(f"{line}  {verdict}")
    if alone := [MEASURES[name].label for name in ours.keys() ^ theirs.keys()]:
        lines += ["", f"measured in one of them only: {', '.join(sorted(alone))}"]
    before, after = _circumstances(a), _circumstances(b)
    changed = {n for n in before.keys() | after.keys() if before.get(n) != after.get(n)}
    lines += ["", "they differ in:" if changed else "same config, versions and devices"]
    lines += [f"  {n}: {before.get(n)} in a, {after.get(n)} in b" for n in sorted(changed)]
    if busy := [name for name, one in (("a", a), ("b", b)) if _is_busy(one)]:
        loads = ", ".join(f"{name} {one['load'][0]}" for name, one in (("a", a), ("b", b)))
        lines += ["", f"busy before: {' and '.join(busy)} (load {loads}); believe no difference"]
    return "\n".join(lines)


def _is_busy(content: Mapping[str, Any]) -> bool:
    """Whether others worked on the machine when the measuring began."""
    before = content["load"][0]
    return before is not None and before > content["cores"] / 2


def _circumstances(content: Mapping[str, Any]) -> dict[str, Any]:
    """What may explain other numbers, by name."""
    environment = content["environment"]
    config = flatten(content["config"])
    return (
        {f"config.{k}": v for k, v in config.items() if not k.startswith(("report.", "data.cache"))}
        | environment["versions"]
        | {name: environment.get(name) for name in _ENVIRONMENT}
        | {"devices": _devices(environment), "cores": content["cores"]}
        | {f"work.{name}": value for name, value in content["work"].items() if name in _WORK}
    )


_ENVIRONMENT = ("python", "platform", "git_commit", "glibc_tunables")
# What follows from the data, not from the config alone.
_WORK = ("image_shape", "training_images", "data_mode", "native_layers")


def _measured(content: Mapping[str, Any]) -> dict[str, Spread]:
    found = content["measured"]
    return {name: Spread(**found[name]) for name in MEASURES if name in found}


def _devices(environment: Mapping[str, Any]) -> str:
    kinds = [device.split(" ", 1)[-1] for device in environment["devices"]]
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds))


def _shown(number: float) -> str:
    if abs(number) >= 1000:
        return f"{number:,.0f}"
    return f"{number:.1f}" if abs(number) >= 10 else f"{number:.2f}"
