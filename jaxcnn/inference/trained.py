"""A trained model, read back from its run directory.

Evaluation, prediction and export begin here; they need nothing but the run directory, which a run
may still be training in.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from jaxcnn.builders.data import build_model
from jaxcnn.builders.devices import build_interceptor
from jaxcnn.config.keys import load_config
from jaxcnn.core.augment import normalize
from jaxcnn.core.state import PyTree, TrainState
from jaxcnn.core.step import Batch, Normalize, make_predict_step
from jaxcnn.errors import UserError
from jaxcnn.files.paths import as_path
from jaxcnn.files.rundir import (
    CALIBRATION,
    CHECKPOINTS,
    CONFIG,
    DATASET,
    has_run,
    read_json,
    seed_names,
    write_json,
)
from jaxcnn.runtime.checkpoint import Checkpoints

_FACTS = ("class_names", "image_shape", "mean", "std", "splits", "identity")


class Trained(NamedTuple):
    """A model and what its run directory holds about it.

    facts: the content of `dataset.json`. step: of the checkpoint.
    variables: {"params", "batch_stats"}, what `model.apply` takes: averaged over training where the
      run keeps an average.
    temperature: what logits are divided by (Guo et al. 2017, arXiv:1706.04599) where one was fitted
      for this checkpoint; else None.

    >>> import jaxcnn
    >>> jaxcnn.load_trained("runs/digits").class_names[:3]
    ('0', '1', '2')
    """

    workdir: Path
    config: ConfigDict
    facts: dict[str, Any]
    step: int
    variables: dict[str, PyTree]
    temperature: float | None = None

    def __repr__(self) -> str:
        return f"Trained({str(self.workdir)!r}, step={self.step})"  # not all its parameters

    @property
    def class_names(self) -> tuple[str, ...]:
        return tuple(self.facts["class_names"])

    @property
    def image_shape(self) -> tuple[int, int, int]:
        height, width, channels = self.facts["image_shape"]
        return height, width, channels

    @property
    def state(self) -> TrainState:
        """The variables as what steps take; there is no optimiser in it."""
        step, key = jnp.asarray(self.step, jnp.int32), jax.random.key(self.config.seed)
        return TrainState(step=step, opt_state=(), key=key, **self.variables)

    @property
    def model(self) -> nn.Module:
        return build_model(self.config, len(self.class_names))

    @property
    def normalize(self) -> Normalize:
        return partial(normalize, mean=self.facts["mean"], std=self.facts["std"])


def load_trained(workdir: str | Path, checkpoint: str = "best") -> Trained:
    """Reads a run directory; raises UserError where there is no whole run.

    checkpoint: "best" (by validation, see `config.best_metric`), "latest", or a step.

    >>> import jaxcnn
    >>> trained = jaxcnn.load_trained("runs/digits")
    >>> trained.image_shape
    (8, 8, 1)
    """
    workdir = as_path(workdir)
    config = run_config(workdir)
    facts = read_json(workdir / DATASET)
    if facts is None or not facts.keys() >= set(_FACTS):
        what = "is missing" if facts is None else "is not the description of a run's data"
        message = f"{workdir / DATASET}: {what}; start the run again with --workdir to write it"
        raise UserError(message)
    checkpoints = Checkpoints(workdir / CHECKPOINTS, config.best_metric, read_only=True)
    try:
        step = _chosen_step(checkpoints, checkpoint, workdir)
        variables = checkpoints.restore_variables(step)
    finally:
        checkpoints.close()
    calibration = read_json(workdir / CALIBRATION) or {}
    temperature = calibration.get("temperature") if calibration.get("step") == step else None
    trained = Trained(workdir, config, facts, step, variables, temperature)
    _check_fits(trained)
    return trained


def _check_fits(trained: Trained) -> None:
    """Raises UserError where the config's model has other variables than were saved."""
    image = jax.ShapeDtypeStruct((1, *trained.image_shape), jnp.float32)
    init = partial(trained.model.init, train=False)
    made = jax.eval_shape(init, jax.eval_shape(jax.random.key, 0), image)
    wanted = _shapes({"batch_stats": {}} | dict(made))
    saved = _shapes(trained.variables)
    if wanted != saved:
        path = min({*wanted.items()} ^ {*saved.items()})[0]
        raise UserError(
            f"--workdir={trained.workdir}: checkpoint {trained.step} is not of the model in "
            f"config.json, {trained.config.model.name} ({path}: saved is {saved.get(path)}, "
            f"expected {wanted.get(path)}); a model of one's own has changed since, or jaxcnn has"
        )


def _shapes(tree: PyTree) -> dict[str, tuple[int, ...]]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}


def keep_temperature(trained: Trained, temperature: float) -> Trained:
    """Writes a fitted temperature into the run directory, for all that use the model later."""
    write_json(trained.workdir / CALIBRATION, {"temperature": temperature, "step": trained.step})
    return trained._replace(temperature=temperature)


def run_config(workdir: Path) -> ConfigDict:
    """Reads the config of a run; UserError where `workdir` holds none."""
    if has_run(workdir):
        return load_config(workdir / CONFIG)
    what = "no run in it (config.json is missing)" if workdir.is_dir() else "no such folder"
    what += "; give the folder that jaxcnn train trained in"
    if seeds := seed_names(workdir):
        what = f"holds runs of several seeds; give one of them, --workdir={workdir / seeds[0]}"
    raise UserError(f"--workdir={workdir}: {what}")


def _chosen_step(checkpoints: Checkpoints, checkpoint: str, workdir: Path) -> int:
    steps = checkpoints.steps()
    if not steps:
        raise UserError(
            f"--workdir={workdir}: no whole checkpoint in it; train for longer, or give another"
        )
    if checkpoint == "latest":
        return steps[-1]
    if checkpoint == "best":
        return checkpoints.best_step() or steps[-1]
    if not checkpoint.isdecimal() or int(checkpoint) not in steps:
        raise UserError(
            f"--checkpoint={checkpoint}: expected best, latest or one of the steps "
            f"{', '.join(map(str, steps))}"
        )
    return int(checkpoint)


def predict_step_of(trained: Trained, features: bool = False) -> Callable[..., Batch]:
    """Makes its `jaxcnn.core.step.make_predict_step`, as its training would evaluate it here."""
    interceptor = build_interceptor(trained.config, training=False)
    return make_predict_step(
        trained.model, normalize=trained.normalize, features=features, interceptor=interceptor
    )
