"""Robustness: a model's accuracy on images that are worse than those it was tested on.

Accuracy under corruptions and under attack, and whether it notices images of no class it knows.
All are made on the device from at most a thousand of the assessed images.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.analysis.intervals import Estimate, share_estimate
from jaxcnn.analysis.ranking import ranking
from jaxcnn.builders.data import build_unlabelled
from jaxcnn.core.attacks import ATTACKS
from jaxcnn.core.corruptions import CORRUPTIONS, SEVERITIES
from jaxcnn.core.metrics import OUTLIER_SCORES
from jaxcnn.core.step import Batch
from jaxcnn.evaluation.assess import Assessment, on_devices, parts_at, spread_over
from jaxcnn.files.paths import local
from jaxcnn.inference.trained import predict_step_of

# Images that are corrupted and attacked: accuracy is then known to within 3 % or so.
MOST = 1000


class Robustness(NamedTuple):
    """The result of `assess_robustness`; empty where it was not asked for.

    num_examples: how many images were corrupted or attacked; clean: accuracy on them as they are.
    corruptions: accuracy at severities 1 to 5 by the corruption's name.
    attacks: accuracy by "fgsm, epsilon 2".
    outliers: by score, how well it tells images of the other folder from the assessed (ROC-AUC).
    """

    num_examples: int = 0
    num_outliers: int = 0
    clean: Estimate | None = None
    corruptions: dict[str, list[float]] = {}  # noqa: RUF012 - a tuple's default is never changed
    attacks: dict[str, Estimate] = {}  # noqa: RUF012
    outliers: dict[str, Estimate] = {}  # noqa: RUF012

    def estimates(self) -> dict[str, Estimate]:
        """The rows of a table, by name."""
        rows: dict[str, Estimate] = {}
        if self.clean is not None:
            rows[f"clean, {self.num_examples:,} images"] = self.clean
        if self.corruptions:
            mean = float(np.mean(list(self.corruptions.values())))
            rows["corrupted, mean of all"] = Estimate(mean)
        rows |= {f"attacked: {name}": accuracy for name, accuracy in self.attacks.items()}
        other = f"{self.num_outliers:,} other images told apart by"
        return rows | {f"{other} {name} (ROC-AUC)": area for name, area in self.outliers.items()}

    def to_json(self) -> dict[str, Any]:
        """The fields, with estimates as `Estimate.to_json` gives them."""
        return self._asdict() | {
            "clean": self.clean and self.clean.to_json(),
            "attacks": {name: one.to_json() for name, one in self.attacks.items()},
            "outliers": {name: one.to_json() for name, one in self.outliers.items()},
        }


def assess_robustness(assessment: Assessment) -> Robustness | None:
    """Measures what `config.report` asks for; None if that is nothing. Raises UserError."""
    options = assessment.trained.config.report
    result: dict[str, Any] = {}
    if options.corruptions or options.attack is not None:
        positions = spread_over(len(assessment.label), MOST)
        right = assessment.logits[positions].argmax(-1) == assessment.label[positions]
        result |= {"num_examples": len(positions), "clean": _accuracy(right)}
        if options.corruptions:
            result["corruptions"] = corrupted(assessment, positions)
        if options.attack is not None:
            name = f"{options.attack}, epsilon {options.epsilon:g} of 255"
            result["attacks"] = {name: attacked(assessment, positions)}
    if options.outliers is not None:
        result["outliers"], result["num_outliers"] = outlier_scores(assessment, options.outliers)
    return Robustness(**result) if result else None


def corrupted(assessment: Assessment, positions: np.ndarray) -> dict[str, list[float]]:
    """Accuracy at each severity by the corruption's name."""
    predict_step = predict_step_of(assessment.trained)
    result = {}
    for name, corruption in CORRUPTIONS.items():

        def step(state: Any, batch: Batch, corruption=corruption) -> Batch:
            state, severity = state
            image = corruption(_keys(batch), batch["image"], severity)
            logits = predict_step(state, batch | {"image": jnp.round(image)})["logits"]
            return {"right": logits.argmax(-1) == batch["label"]}

        right = _over(assessment, positions, step)
        result[name] = [float(right(jnp.asarray(severity)).mean()) for severity in SEVERITIES]
    return result


def attacked(assessment: Assessment, positions: np.ndarray) -> Estimate:
    """Accuracy where an attack changes each pixel by `config.report.epsilon` at most."""
    options = assessment.trained.config.report
    attack, predict_step = ATTACKS[options.attack], predict_step_of(assessment.trained)

    def step(state: Any, batch: Batch) -> Batch:
        state, epsilon = state

        def predict(image: jax.Array) -> jax.Array:
            return predict_step(state, batch | {"image": image})["logits"]

        image = attack(_keys(batch), predict, batch["image"], batch["label"], epsilon)
        return {"right": predict(image).argmax(-1) == batch["label"]}

    return _accuracy(_over(assessment, positions, step)(jnp.float32(options.epsilon)))


def outlier_scores(assessment: Assessment, folder: str) -> tuple[dict[str, Estimate], int]:
    """ROC-AUC of each score of `jaxcnn.core.metrics`, and the number of images in `folder`."""
    trained = assessment.trained
    place = local(folder, "config.report.outliers", "images are read from disks")
    others = build_unlabelled(trained.config, place, trained.image_shape, trained.facts)
    strange = on_devices(trained, predict_step_of(assessment.trained))(others)["logits"]
    both = np.concatenate([assessment.logits, strange])
    outlier = np.arange(len(both)) >= len(assessment.logits)
    result = {}
    for name, score in OUTLIER_SCORES.items():
        area = ranking(np.asarray(score(jnp.asarray(both))), outlier).roc_auc[0]
        result[name] = Estimate(float(area))
    return result, len(others)


def _keys(batch: Batch) -> jax.Array:
    """A key for each example, always the same."""
    return jax.vmap(lambda index: jax.random.fold_in(jax.random.key(0), index))(batch["index"])


def _over(
    assessment: Assessment, positions: np.ndarray, step: Callable[[Any, Batch], Batch]
) -> Callable[[jax.Array], np.ndarray]:
    """A function of a number: which images at `positions` are right, bool[n], as the output of
    `step((state, number), batch)` says.
    """
    run, parts = on_devices(assessment.trained, step), parts_at(assessment.data.parts, positions)
    return lambda number: np.concatenate([run(part, number)["right"] for part in parts])


def _accuracy(right: np.ndarray) -> Estimate:
    return share_estimate(int(right.sum()), len(right), 1000, 0)
