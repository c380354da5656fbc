"""Illustrates an assessment: chosen images with right and wrong predictions, and explanations."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.analysis.features import PROJECTIONS, nearest
from jaxcnn.analysis.outcomes import Suspect, likely_label_errors
from jaxcnn.core import explain
from jaxcnn.data.decode import decode
from jaxcnn.data.load import require_content
from jaxcnn.data.pipeline import eval_batches
from jaxcnn.data.resize import fit
from jaxcnn.evaluation.assess import Assessment, on_devices, parts_at, spread_over
from jaxcnn.inference.trained import predict_step_of
from jaxcnn.report import activations, galleries
from jaxcnn.report.galleries import Gallery, Neighbour, Prediction

# Of examples in an assessment, int64[n]
Positions = Sequence[int] | np.ndarray

# How many images each gallery shows.
SAMPLES, WRONG, SUSPECTS, EXPLAINED, MAPPED, QUERIES, NEIGHBOURS = 24, 24, 12, 8, 2, 5, 6
# Images among which neighbours are looked for, and that a projection shows.
_FEATURES = 2000
# Pixels of a photo's sides in a gallery.
_SHOWN = 168
# Likely label errors that the page lists.
_LISTED = 200


def illustrate(
    assessment: Assessment, doubtful: Sequence[Suspect] | None = None
) -> dict[str, Gallery]:
    """Makes galleries, by the names of the pictures in the report's folder.

    doubtful: the result of `suspects`, where it is known already.

    >>> import jaxcnn
    >>> trained = jaxcnn.load_trained("runs/digits")
    >>> galleries = jaxcnn.illustrate(jaxcnn.assess(trained, jaxcnn.find_data(trained)))
    >>> "grad_cam" in galleries
    True
    """
    shares = assessment.probabilities
    spread = _spread(assessment.label, SAMPLES)
    wrong = galleries.confidently_wrong(assessment.label, shares, WRONG)
    doubtful = (suspects(assessment) if doubtful is None else doubtful)[:SUSPECTS]
    chosen = _some_of_both(spread, wrong, EXPLAINED)
    show = partial(predictions, assessment)
    shown = show(chosen)
    result = {
        "predictions": galleries.sample_predictions(show(spread)),
        "misclassified": galleries.misclassified(show(wrong)),
    }
    if explain.has_features(assessment.trained.model):
        heat = grad_cam(assessment, chosen)
        maps = feature_maps(assessment, chosen[:MAPPED])
        result["grad_cam"] = activations.heat_maps(
            "Grad-CAM: what speaks for the predicted class", shown, heat
        )
        result["feature_maps"] = activations.feature_maps(shown[:MAPPED], maps)
        result["neighbours"] = neighbours(assessment, _some_of_both(spread, wrong, QUERIES))
    if (kernels := filters(assessment)) is not None:
        result["filters"] = activations.filters(kernels)
    if assessment.trained.config.report.occlusion:
        heat = occlusion(assessment, chosen)
        result["occlusion"] = activations.heat_maps(
            "Occlusion: what the predicted class cannot do without", shown, heat
        )
    if doubtful:
        suggested = [
            one._replace(
                prediction=assessment.trained.class_names[suspect.suggestion],
                probability=float(shares[suspect.position, suspect.suggestion]),
            )
            for one, suspect in zip(show([s.position for s in doubtful]), doubtful, strict=True)
        ]
        result["label_errors"] = galleries.likely_label_errors(suggested)
    return result


def suspects(assessment: Assessment) -> list[Suspect]:
    """Likely label errors among the assessed examples, the likeliest first."""
    return likely_label_errors(assessment.label, assessment.probabilities, _LISTED)


def images(assessment: Assessment, positions: Positions) -> np.ndarray:
    """The assessed images at `positions` as the model sees them, uint8[n, H, W, C]."""
    order = np.argsort(positions, kind="stable")
    result = np.empty((len(positions), *assessment.trained.image_shape), np.uint8)
    parts = parts_at(assessment.data.parts, np.asarray(positions, np.int64)[order])
    if parts:
        batches = (batch for part in parts for batch in eval_batches(part, len(part)))
        result[order] = np.concatenate([batch["image"] for batch in batches])
    return result


def pictures(assessment: Assessment, positions: Positions) -> list[np.ndarray]:
    """The assessed images at `positions` for people: what the model sees, but of files with as
    many pixels as are shown, uint8[h, w, C] each.
    """
    result: list[np.ndarray] = list(images(assessment, positions))
    model_size = min(assessment.trained.image_shape[:2])
    if assessment.paths is None or model_size >= _SHOWN:
        return result
    order, decoding = np.argsort(positions, kind="stable"), assessment.data.decoding
    parts = parts_at(assessment.data.parts, np.asarray(positions, np.int64)[order])
    rows = [(part.source, row) for part in parts if part.source for row in part.rows.tolist()]
    for place, (source, row) in zip(order.tolist(), rows, strict=True):
        (content,), _ = source.read(np.array([row]))
        try:
            image = decode(require_content(content), decoding, at_least=_SHOWN)
        except ValueError:  # the file has changed meanwhile
            continue
        size = min(_SHOWN, *image.shape[:2])
        if size > model_size:
            result[place] = fit(image, decoding._replace(image_size=size))
    return result


def predictions(assessment: Assessment, positions: Positions) -> list[Prediction]:
    """The images at `positions` with the model's predictions."""
    names, shares = assessment.trained.class_names, assessment.probabilities
    return [
        Prediction(
            image=image,
            name=name_of(assessment, i),
            label=names[assessment.label[i]],
            prediction=names[shares[i].argmax()],
            probability=float(shares[i].max()),
        )
        for i, image in zip(positions, pictures(assessment, positions), strict=True)
    ]


def name_of(assessment: Assessment, position: int) -> str:
    """The path of an example's file, or its number in the data set."""
    if assessment.paths is not None:
        return assessment.paths[position]
    return f"number {assessment.rows[position]}"


def explained(
    assessment: Assessment, positions: Positions, explanation: Callable[..., Any], *classes: Any
) -> Any:
    """An explanation of `jaxcnn.core.explain`, compiled, for the images at `positions` as the first
    layer sees them; `classes`, int[n], where it is about the predicted ones.
    """
    trained = assessment.trained
    image = trained.normalize(jnp.asarray(images(assessment, positions)))
    return jax.jit(partial(explanation, trained.model))(trained.variables, image, *classes)


def predicted(assessment: Assessment, positions: Positions) -> np.ndarray:
    """The predicted classes, int64[n]."""
    return assessment.logits[np.asarray(positions)].argmax(-1)


def grad_cam(assessment: Assessment, positions: Positions) -> np.ndarray:
    """Float32[n, H, W] in 0..1 for the predicted classes; nothing where no stage has a map."""
    trained = assessment.trained
    image = jnp.zeros((1, *trained.image_shape), jnp.float32)
    if not explain.spatial_stages(trained.model, trained.variables, image):
        return np.zeros((len(positions), *trained.image_shape[:2]), np.float32)
    classes = predicted(assessment, positions)
    return np.asarray(explained(assessment, positions, explain.grad_cam, classes))


def occlusion(assessment: Assessment, positions: Positions) -> np.ndarray:
    """Float32[n, H, W] in 0..1: the largest drop of the predicted class's probability is 1."""
    classes = predicted(assessment, positions)
    drop = np.maximum(explained(assessment, positions, explain.occlusion, classes), 0)
    return drop / np.maximum(drop.max((1, 2), keepdims=True), 1e-6)


def feature_maps(assessment: Assessment, positions: Positions) -> dict[str, np.ndarray]:
    """Outputs of each stage for the images at `positions`: float32[n, h, w, c] by name."""
    maps = explained(assessment, positions, explain.feature_maps)
    return {name: np.asarray(value) for name, value in maps.items()}


def filters(assessment: Assessment) -> np.ndarray | None:
    """The kernels of the first convolution, float32[kh, kw, c_in, c_out]."""
    trained = assessment.trained
    image = jnp.zeros((1, *trained.image_shape), jnp.float32)
    kernels = explain.first_layer_filters(trained.model, trained.variables, image)
    return None if kernels is None else np.asarray(kernels)


def neighbours(assessment: Assessment, queries: Sequence[int]) -> Gallery:
    """A gallery of the assessed images nearest to each query in the features."""
    candidates = np.union1d(featured(assessment), queries)
    vectors = features(assessment, candidates)
    own = np.searchsorted(candidates, queries)
    rows, distances = nearest(vectors, vectors[own], NEIGHBOURS + 1)
    names, result = assessment.trained.class_names, []
    for me, near, distance in zip(own, rows, distances, strict=True):
        others = np.flatnonzero(near != me)[:NEIGHBOURS]
        positions = candidates[near[others]]
        shown = zip(positions, pictures(assessment, positions), distance[others], strict=True)
        result.append(
            [
                Neighbour(image, name_of(assessment, i), names[assessment.label[i]], float(far))
                for i, image, far in shown
            ]
        )
    return galleries.nearest_neighbours(predictions(assessment, queries), result)


def projection(assessment: Assessment, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A map of the assessed images: points float64[n, 2] and their labels int32[n]."""
    positions = featured(assessment)
    return PROJECTIONS[name](features(assessment, positions)), assessment.label[positions]


def featured(assessment: Assessment) -> np.ndarray:
    """Positions of at most 2,000 assessed images, from all over."""
    return spread_over(len(assessment.label), _FEATURES)


def features(assessment: Assessment, positions: np.ndarray) -> np.ndarray:
    """Features before the last layer of the images at `positions` (in order), float32[n, D]."""
    trained = assessment.trained
    run = on_devices(trained, predict_step_of(trained, features=True))
    result = [run(part)["penultimate"] for part in parts_at(assessment.data.parts, positions)]
    return np.concatenate(result)


def _spread(label: np.ndarray, count: int) -> list[int]:
    """Positions of examples, class by class, of as many classes as there is room for."""
    present = np.unique(label)
    present = present[np.linspace(0, len(present) - 1, min(count, len(present)), dtype=int)]
    each = -(-count // max(1, len(present)))
    turns = []
    for k in present:
        mine = np.flatnonzero(label == k)
        chosen = mine[np.linspace(0, len(mine) - 1, min(each, len(mine)), dtype=int)]
        turns += [(turn, int(k), int(i)) for turn, i in enumerate(chosen)]
    return [i for _, _, i in sorted(sorted(turns)[:count], key=lambda turn: turn[1:])]


def _some_of_both(spread: Sequence[int], wrong: Iterable[int], count: int) -> list[int]:
    """Half of them misclassified, where there are as many."""
    wrong = [int(i) for i in wrong][: count // 2]
    others = [i for i in spread if i not in wrong]
    step = max(1, len(others) // max(1, count - len(wrong)))
    return wrong + others[::step][: count - len(wrong)]
