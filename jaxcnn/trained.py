"""A trained model, read back from its run directory.

from jaxcnn.trained import load_trained
trained = load_trained("runs/digits")

Evaluation, prediction and export begin here; they need nothing but the run directory, which a run
may still be training in.
"""

from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
from ml_collections import ConfigDict

from jaxcnn.build import build_model
from jaxcnn.build_parallel import build_interceptor
from jaxcnn.config import load_config, resolve
from jaxcnn.core.augment import normalize
from jaxcnn.core.state import TrainState
from jaxcnn.core.step import Batch, Normalize, make_predict_step
from jaxcnn.errors import UserError
from jaxcnn.first_state import state_maker, state_shapes
from jaxcnn.paths import as_path, names
from jaxcnn.runtime.checkpoint import Checkpoints
from jaxcnn.runtime.rundir import read_json, write_json

# Keys of the config that may be changed for a model that is trained.
FREE_WHEN_TRAINED = ("data.", "report.", "batch_size", "dtype")

# Of these, what says anything where answers are in float32 to given images: predict, export.
FREE_WHEN_ANSWERING = ("data.",)

# Of these, what only training reads, or a trained model holds already.
_TRAINING = ("data.mean", "data.std", "data.sampling", "report.at_end", "report.histograms")

CALIBRATION = "calibration.json"
_FACTS = ("class_names", "image_shape", "mean", "std", "splits", "identity")


class Trained(NamedTuple):
    """A model and what a run directory tells of it.

    facts: the content of `dataset.json`. step: of the checkpoint that `state` is.
    temperature: what logits are divided by (Guo et al. 2017, arXiv:1706.04599) where one was fitted
      for this checkpoint; else None.
    """

    workdir: Path
    config: ConfigDict
    facts: dict[str, Any]
    step: int
    state: TrainState
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
    def model(self) -> nn.Module:
        return build_model(self.config, len(self.class_names))

    @property
    def normalize(self) -> Normalize:
        return partial(normalize, mean=self.facts["mean"], std=self.facts["std"])


def load_trained(workdir: str | Path, checkpoint: str = "best") -> Trained:
    """Reads a run directory; raises UserError where there is no whole run.

    checkpoint: "best" (by validation, see `config.best_metric`), "latest", or a step.
    """
    workdir = as_path(workdir)
    config = run_config(workdir)
    facts = read_json(workdir / "dataset.json")
    if facts is None or not facts.keys() >= set(_FACTS):
        raise UserError(
            f"{workdir / 'dataset.json'}: "
            + ("is missing" if facts is None else "is not the description of a run's data")
            + "; start the run again with --workdir to write it"
        )
    checkpoints = Checkpoints(workdir / "checkpoints", config.best_metric, read_only=True)
    try:
        step = _chosen_step(checkpoints, checkpoint, workdir)
        make_state = state_maker(
            config, facts["splits"]["train"], len(facts["class_names"]), tuple(facts["image_shape"])
        )
        state = checkpoints.restore(step, state_shapes(make_state))
    finally:
        checkpoints.close()
    calibration = read_json(workdir / CALIBRATION) or {}
    temperature = calibration.get("temperature") if calibration.get("step") == step else None
    return Trained(workdir, config, facts, step, state, temperature)


def keep_temperature(trained: Trained, temperature: float) -> Trained:
    """Writes a fitted temperature into the run directory, for all that use the model later."""
    content = {"temperature": temperature, "step": trained.step}
    write_json(trained.workdir / CALIBRATION, content)
    return trained._replace(temperature=temperature)


def run_config(workdir: Path) -> ConfigDict:
    """The config of a run; UserError where `workdir` holds none."""
    if not (workdir / "config.json").is_file():
        what = "no run in it (config.json is missing)" if workdir.is_dir() else "no such folder"
        if seeds := [n for n in names(workdir) if n.startswith("seed_") and (workdir / n).is_dir()]:
            raise UserError(
                f"--workdir={workdir}: holds runs of several seeds; give one of them, "
                f"--workdir={workdir / seeds[0]}"
            )
        raise UserError(
            f"--workdir={workdir}: {what}; give the folder that python -m jaxcnn.main trained in"
        )
    return load_config(workdir / "config.json")


def is_free(key: str, free: tuple[str, ...] = FREE_WHEN_TRAINED) -> bool:
    """Whether a key of the config says anything about a model that is trained, to a command that
    takes the keys in `free`.
    """
    return key.startswith(free) and key not in _TRAINING


def with_overrides(
    config: ConfigDict, overrides: Collection[str], free: tuple[str, ...] = FREE_WHEN_TRAINED
) -> ConfigDict:
    """The config of a run, changed on the command line; UserError for what the command does not
    take, see `is_free`.
    """
    for key in overrides:
        if not is_free(key, free):
            known = ", ".join(f"config.{k}" + "*" * k.endswith(".") for k in free)
            without = ", ".join(k for k in _TRAINING if k.startswith(free))
            raise UserError(
                f"config.{key}: the model is trained already; what may be given is {known} "
                f"(without {without})"
            )
    return resolve(config, overrides)


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
    """Its `jaxcnn.core.step.make_predict_step`, as its training would evaluate it here."""
    interceptor = build_interceptor(trained.config, training=False)
    return make_predict_step(
        trained.model, normalize=trained.normalize, features=features, interceptor=interceptor
    )
