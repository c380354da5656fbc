"""Checkpoints: Orbax writes them in the background, a manifest proves them whole.

    checkpoints/<step>/         one Orbax checkpoint
    checkpoints/<step>.sha256   a line a file: "<sha256>  <bytes>  <path>", written after it

Orbax does not notice a flipped bit, so every file is verified before a restore; nor what is missing
from the start, so what was written is read back before its manifest. A checkpoint without one was
not finished: the process died. Several processes write and read together; the first verifies,
chooses and writes manifests.

To write a small state takes as long as many steps, so writes may be kept some seconds apart. What
is saved meanwhile is held in memory; the best of it and the latest are written next, in this order.
So with each one on the disk is the best until then, and a killed run that goes on makes the later
ones once more.
"""

import dataclasses
import logging
import math
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcnn.errors import DiskError, UserError
from jaxcnn.files.folders import find_damage, manifest
from jaxcnn.files.paths import make_folder, move, names, plain_name, remove, write
from jaxcnn.runtime.distributed import from_first, is_first
from jaxcnn.runtime.mesh import one_copy_sharding
from jaxcnn.runtime.writers import disk_errors, tell_once

logger = logging.getLogger(__name__)

# With the best one and the two latest kept, a whole one exists while the newest is being written.
_LATEST = 2
_ITEM = "default"  # the folder that Orbax writes a state into
_TRASH = "deleted"
# Orbax numbers the saves of a process, and mixes up two, of whatever runs, that begin at once.
_ONE_BEGINS = threading.Lock()


class Snapshot(NamedTuple):
    """A checkpoint that waits in memory to be written. parts: those of a state, on the host.
    metrics: on validation; None if it was not validated.
    """

    step: int
    parts: dict[str, Any]
    metrics: dict[str, float] | None


class Checkpoints:
    """The checkpoints of one run directory.

    folder: `<workdir>/checkpoints`; made at the first save.
    best_metric: which of the metrics given to `save` ranks checkpoints ("loss": lower is better;
      any other: higher). Of equal ones the later is the best.
    read_only: change nothing, also not what another process may be writing.
    gap: seconds from the end of one write to the next, at least; what is saved meanwhile is held in
      memory. 0: each is written at once. Several processes, whose clocks differ, write at once.
    """

    def __init__(self, folder: Path, best_metric: str, read_only: bool = False, gap: float = 0.0):
        self._folder = folder
        self._rank = partial(rank, best_metric)
        self._read_only = read_only
        self._manager: Any = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint-manifest")
        self._commit: Future | None = None
        self._gap = gap
        self._waiting: list[Snapshot] = []
        self._next_write = 0.0

    def restore_latest(self, like: Any) -> tuple[Any, int] | None:
        """The newest whole checkpoint and its step, or None where there is none yet.

        like: a TrainState of arrays or `jax.ShapeDtypeStruct`s with shardings: what to restore to.
        Those after it are moved aside and named in the log: `unfinished-<step>` were being written
        when the process died, `damaged-<step>` have changed since. UserError, and nothing moved, if
        there are checkpoints and none is whole.
        """
        step = from_first(self._tidy_up() if is_first() else None)
        return None if step is None else (self._restore(step, like), step)

    def restore_best(self, like: Any) -> tuple[Any, int]:
        """The best checkpoint (see `best_step`) and its step; UserError if it is damaged."""
        step = self.best_step()
        if step is None:
            raise UserError(f"{self._folder}: no checkpoint")
        return self.restore(step, like), step

    def restore(self, step: int, like: Any) -> Any:
        """A finished checkpoint; UserError if it is damaged."""
        self._check_whole(step)
        return self._restore(step, like)

    def restore_variables(self, step: int) -> dict[str, Any]:
        """The variables of the model in a finished checkpoint, {"params", "batch_stats"}: of the
        average where it keeps one. Nothing else is read: what is on the disk decides. UserError if
        it is damaged.
        """
        import orbax.checkpoint as ocp

        self._check_whole(step)
        saved = self._saved(step)
        names = ("averaged",) if "averaged" in saved else ("params", "batch_stats")
        sharding = one_copy_sharding()
        like = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            {name: saved[name] for name in names if name in saved},
        )
        arguments = ocp.checkpoint_utils.construct_restore_args(like)
        parts = ocp.PyTreeCheckpointer().restore(
            self._item(step),
            args=ocp.args.PyTreeRestore(item=like, restore_args=arguments, partial_restore=True),
        )
        return {"batch_stats": {}} | parts.get("averaged", parts)

    def _saved(self, step: int) -> dict[str, Any]:
        """The tree of a finished checkpoint: what has the shape and dtype of each array. UserError
        where it has none.
        """
        import orbax.checkpoint as ocp

        if (saved := ocp.PyTreeCheckpointer().metadata(self._item(step)).item_metadata) is None:
            raise UserError(
                f"{self._folder}: checkpoint {step} holds no arrays: older versions saved none in "
                "a folder with [ or \\ in its name; train anew with another --workdir"
            )
        return saved.tree

    def _item(self, step: int) -> Path:
        return plain_name(self._folder) / str(step) / _ITEM

    def _check_whole(self, step: int) -> None:
        """UserError where a checkpoint is damaged."""
        problem = self._whats_wrong(step) if is_first() else None
        if problem:
            best = ", the best one," if step == self._best_step() else ""
            raise UserError(
                f"{self._folder}: checkpoint {step}{best} is damaged ({problem}); restore it from "
                f"a copy, or delete {step} and {step}.sha256 there to use another one"
            )

    def latest_step(self) -> int | None:
        """The step of the newest finished checkpoint."""
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """The step of the best checkpoint by validation; the latest if none was validated."""
        self._open()  # all processes meet in it
        return from_first(self._best_step() if is_first() else None)

    def _best_step(self) -> int | None:
        steps = self.steps()
        metrics = {step: self._open().metrics(step) for step in steps}
        ranked = [(self._rank(m), step) for step, m in metrics.items() if m]
        return max(ranked)[1] if ranked else self.latest_step()

    def save(self, step: int, state: Any, metrics: dict[str, float] | None) -> None:
        """Saves a state in the background, or holds it; what an earlier write ran into is raised
        here.
        """
        together = jax.process_count() > 1
        now = together or self._gap == 0 or self._may_write()
        if now or not self._next_write:  # until one is there, a kill would cost all
            self._join()
        if together:
            parts = parts_of(state)
            with disk_errors(self._folder):
                self._begin(step, parts, metrics)
            shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), parts)
            self._commit = self._thread.submit(self._finish, step, shapes)
            return
        # Orbax takes NumPy's arrays in half the time of JAX's, and all of it is the thread's.
        new = Snapshot(step, on_host(parts_of(state)), metrics)
        self._waiting = worth_writing(self._waiting, new, self._rank)
        if now:
            self._write_waiting()

    def wait(self) -> None:
        """Waits until all that is saved is on disk, with its manifest; UserError if it failed."""
        self._join()
        self._write_waiting()
        self._join()

    def _may_write(self) -> bool:
        """Whether nothing is being written, and has not been for long enough."""
        at_rest = self._commit is None or self._commit.done()
        return at_rest and time.monotonic() >= self._next_write

    def _write_waiting(self) -> None:
        """Writes what waits, in the background; the thread has nothing else to do."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._commit = self._thread.submit(self._write, waiting)

    def _join(self) -> None:
        """Waits for what is being written; UserError if it failed."""
        if self._commit is not None:
            commit, self._commit = self._commit, None
            with disk_errors(self._folder):
                if commit.exception() is not None:
                    self._waiting = []  # the disk would refuse these, too
                commit.result()

    def close(self) -> None:
        """Waits for the last save and ends the background threads."""
        try:
            self.wait()
        finally:
            self._thread.shutdown()
            if self._manager is not None:
                manager, self._manager = self._manager, None
                with disk_errors(self._folder):  # it raises again what a save ran into
                    manager.close()

    def _open(self) -> Any:
        import orbax.checkpoint as ocp  # half a second: imported when first needed

        if self._manager is None:
            policies = ocp.checkpoint_managers
            several: dict[str, Any] = {}
            if jax.process_count() > 1:
                # Named, they meet without the devices, which are busy with a step meanwhile.
                all_of_them = {*range(jax.process_count())}
                named = ocp.options.MultiprocessingOptions(active_processes=all_of_them)
                several = {"multiprocessing_options": named, "create": False}
            if not self._read_only:
                make_folder(self._folder)
            self._manager = ocp.CheckpointManager(
                plain_name(self._folder),
                options=ocp.CheckpointManagerOptions(
                    best_fn=self._rank,  # without it the metrics are not written
                    preservation_policy=policies.AnyPreservationPolicy(
                        [policies.LatestN(_LATEST), KeepBest(self._rank)]
                    ),
                    cleanup_tmp_directories=not self._read_only,
                    # Renamed, then removed: a kill leaves no half of an old checkpoint behind.
                    todelete_subdir=None if self._read_only else _TRASH,
                    read_only=self._read_only,
                    **several,
                ),
            )
        return self._manager

    def _restore(self, step: int, like: Any) -> Any:
        import orbax.checkpoint as ocp

        wanted = parts_of(like)
        try:
            parts = self._open().restore(step, args=ocp.args.StandardRestore(wanted))
        except (KeyError, TypeError, ValueError) as error:  # the files are whole: see _check_whole
            saved = self._saved(step)
            raise UserError(
                f"{self._folder}: training cannot go on from checkpoint {step}: "
                f"{_what_differs(saved, wanted) or _briefly(error)}; train anew with another "
                "--workdir; evaluate, predict and export go on to work with this one"
            ) from error
        return like.replace(**parts | {"key": jax.random.wrap_key_data(parts["key"])})

    def _tidy_up(self) -> int | None:
        """The newest whole checkpoint, when those after it are moved aside."""
        whole, aside = self._sort_out()
        for old in names(self._folder):
            if old.startswith("unfinished-"):  # or a run killed often would fill the disk
                remove(self._folder / old)
        for kind, step, problem in aside:
            name = f"{kind}-{step}"
            logger.warning("checkpoint %d is %s (%s): moved to %s", step, kind, problem, name)
            self._move_aside(step, name)
        return whole

    def _sort_out(self) -> tuple[int | None, list[tuple[str, int, str]]]:
        """The newest whole checkpoint, and (kind, step, problem) of those after it."""
        aside: list[tuple[str, int, str]] = []
        for step in reversed(self._steps_on_disk()):
            if not self._manifest(step).exists():
                aside.append(("unfinished", step, "it has no manifest"))
            elif problem := self._whats_wrong(step):
                aside.append(("damaged", step, problem))
            else:
                return step, aside
        damaged = [step for kind, step, _ in aside if kind == "damaged"]
        unfinished = [step for kind, step, _ in aside if kind == "unfinished"]
        if damaged:
            raise UserError(
                f"{self._folder}: no whole checkpoint is left (damaged: {damaged}); restore the "
                "folder from a copy, or train anew with another --workdir"
            )
        if len(unfinished) > 1:  # a kill leaves one at the most
            raise UserError(
                f"{self._folder}: checkpoints {unfinished} have no manifests "
                f"({unfinished[0]}.sha256, ...): copy those here as well, or train anew with "
                "another --workdir"
            )
        return None, aside

    def _move_aside(self, step: int, name: str) -> None:
        # The manifest first: without it, what a kill leaves here is unfinished, not whole.
        if self._manifest(step).exists():
            move(self._manifest(step), self._folder / f"{name}.sha256")
        move(self._folder / str(step), self._folder / name)

    def _write(self, snapshots: list[Snapshot]) -> None:
        """Writes the last of them, and those before that are the best."""
        for one in snapshots:
            if one is snapshots[-1] or self._is_best(one):
                self._begin(*one)
                self._finish(one.step, one.parts)
        self._next_write = time.monotonic() + self._gap

    def _is_best(self, new: Snapshot) -> bool:
        """Whether it has metrics and none on the disk has better ones."""
        on_disk = [m for step in self.steps() if (m := self._open().metrics(step))]
        own = -math.inf if new.metrics is None else self._rank(new.metrics)
        return all(own >= self._rank(metrics) for metrics in on_disk)

    def _begin(self, step: int, parts: dict[str, Any], metrics: dict[str, float] | None) -> None:
        """Hands a state to Orbax, whose own threads write it."""
        import orbax.checkpoint as ocp

        if is_first():
            self._manifest(step).unlink(missing_ok=True)
        args = ocp.args.StandardSave(parts)
        with _ONE_BEGINS:
            tell_once()
            self._open().save(step, args=args, metrics=metrics, force=True)

    def _finish(self, step: int, parts: dict[str, Any]) -> None:
        """Writes the manifest once Orbax has renamed the checkpoint to its final name, and all that
        is in it could be read back; DiskError where it could not.
        """
        self._manager.wait_until_finished()
        if not is_first():
            return
        if problem := self._what_is_lost(step, parts):
            raise DiskError(
                f"{self._folder}: checkpoint {step} was written and cannot be read back "
                f"({problem}): it does not count; earlier ones are intact: start again to resume, "
                "and give another --workdir where that does not help"
            )
        write(self._manifest(step), manifest(self._folder / str(step)))
        remove(self._folder / _TRASH)
        steps = set(self._steps_on_disk())
        for name in names(self._folder):
            stem, dot, kind = name.partition(".")
            if dot + kind == ".sha256" and stem.isdigit() and int(stem) not in steps:
                remove(self._folder / name)

    def _what_is_lost(self, step: int, parts: dict[str, Any]) -> str | None:
        """The first array of a state that its checkpoint does not give back, bit for bit; None if
        there is none. Where several processes write, parts has only shapes and dtypes.
        """
        import orbax.checkpoint as ocp

        as_numpy = jax.tree.map(lambda leaf: ocp.RestoreArgs(restore_type=np.ndarray), parts)
        try:  # by the handler: a checkpointer would wait for the other processes
            saved = ocp.PyTreeCheckpointHandler().restore(
                self._item(step),
                args=ocp.args.PyTreeRestore(item=parts, restore_args=as_numpy),
            )
        except Exception as error:  # of Orbax, TensorStore, the disk, a bucket
            return _briefly(error)
        pairs = zip(jax.tree_util.tree_leaves_with_path(parts), jax.tree.leaves(saved), strict=True)
        for (path, leaf), found in pairs:
            if not _is_same(leaf, found):
                return f"{jax.tree_util.keystr(path, simple=True, separator='.')} is another one"
        return None

    def _whats_wrong(self, step: int) -> str | None:
        return find_damage(self._folder / str(step), self._manifest(step))

    def _manifest(self, step: int) -> Path:
        return self._folder / f"{step}.sha256"

    def _steps_on_disk(self) -> list[int]:
        return sorted(int(name) for name in names(self._folder) if name.isdigit())

    def steps(self) -> list[int]:
        """The steps of the finished checkpoints, in order."""
        return [step for step in self._steps_on_disk() if self._manifest(step).exists()]


class KeepBest:
    """Orbax preservation policy: keeps the best-ranked checkpoint, of equal ones the later; also
    that of those before the newest, which could turn out to be unreadable.
    """

    def __init__(self, rank: Callable[[dict[str, float]], float]):
        self._rank = rank

    def should_preserve(self, checkpoints, *, context) -> list[bool]:
        del context
        ranked = [(self._rank(c.metrics), c.step) for c in checkpoints if c.metrics]
        older = [one for one in ranked if one[1] != checkpoints[-1].step]
        best = {max(some)[1] for some in (ranked, older) if some}
        return [c.step in best for c in checkpoints]


def rank(best_metric: str, metrics: dict[str, float]) -> float:
    """Ranks a checkpoint by its metrics on validation: the best has the greatest number.

    best_metric: "loss", of which a lower one is better, or another. A metric that is not finite
      ranks last.
    """
    value = metrics[best_metric]
    if not math.isfinite(value):
        return -math.inf
    return -value if best_metric == "loss" else value


def worth_writing(
    waiting: Sequence[Snapshot], new: Snapshot, rank: Callable[[dict[str, float]], float]
) -> list[Snapshot]:
    """Returns, in order, the best by rank of those that wait and a newer one (of equal ones the
    later), and the newer one.
    """
    ranked = [(rank(one.metrics), one.step, one) for one in (*waiting, new) if one.metrics]
    best = max(ranked, key=lambda entry: entry[:2])[2] if ranked else new
    return [new] if best is new else [best, new]


def parts_of(state: Any) -> dict[str, Any]:
    """Returns the parts of a state that are saved: none that is None; its typed PRNG key as plain
    uint32 data, which any reader understands.
    """
    key: Any
    if isinstance(state.key, jax.ShapeDtypeStruct):
        data = jax.eval_shape(jax.random.key_data, state.key)
        key = jax.ShapeDtypeStruct(data.shape, data.dtype, sharding=state.key.sharding)
    else:
        key = jax.random.key_data(state.key)
    parts = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
    return {name: part for name, part in parts.items() if part is not None} | {"key": key}


def on_host(parts: dict[str, Any]) -> dict[str, Any]:
    """Copies what this process has whole to the host: the next step takes the state's own memory,
    which on CPUs is the host's.
    """
    fetched = jax.device_get(parts)
    return jax.tree.map(np.array, fetched) if jax.default_backend() == "cpu" else fetched


def _what_differs(saved: Any, wanted: Any) -> str | None:
    """The first array that differs between two states, in words; None where none does. A model
    comes before its optimiser, whose arrays follow the model's.
    """
    arrays, expected = _arrays(saved), _arrays(wanted)
    different = [p for p in {*arrays, *expected} if arrays.get(p) != expected.get(p)]
    if not different:
        return None
    path = min(different, key=lambda path: (path.startswith("opt_state"), path))
    of_optimiser = path.startswith("opt_state")
    return (
        f"the state of its {'optimiser' if of_optimiser else 'model'} has another layout, written "
        f"by another version of {'Optax' if of_optimiser else 'the model'} or of jaxcnn ({path}: "
        f"saved is {arrays.get(path, 'nothing')}, expected {expected.get(path, 'nothing')})"
    )


def _arrays(tree: Any) -> dict[str, str]:
    """{path: dtype and shape} of the arrays of a tree; NamedTuples and dicts alike."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): f"{leaf.dtype}{[*leaf.shape]}"
        for path, leaf in leaves
        if getattr(leaf, "shape", None) is not None
    }


def _is_same(leaf: Any, saved: np.ndarray) -> bool:
    """Whether an array was saved: of its shape and dtype, and bit for bit where it has values."""
    if (leaf.shape, leaf.dtype) != (saved.shape, saved.dtype):
        return False
    if not isinstance(leaf, np.ndarray):
        return True
    return np.array_equal(leaf.reshape(-1).view(np.uint8), saved.reshape(-1).view(np.uint8))


def _briefly(error: Exception) -> str:
    return " ".join(str(error).partition(" [tensorstore_spec")[0].split())[:300]
