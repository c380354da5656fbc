"""What a model does with chosen images: right and wrong answers, and what it looks at."""

from collections.abc import Iterable, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.analysis.features import PROJECTIONS, nearest
from jaxcnn.analysis.label_errors import Suspect, likely_label_errors
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
    """Galleries by name: what the pictures in the report's folder are called.

    doubtful: what `suspects` gives, where that is known already.

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
    explained = _some_of_both(spread, wrong, EXPLAINED)
    say = partial(predictions, assessment)
    told = say(explained)
    found = {
        "predictions": galleries.sample_predictions(say(spread)),
        "misclassified": galleries.misclassified(say(wrong)),
    }
    if explain.has_features(assessment.trained.model):
        heat = grad_cam(assessment, explained)
        maps = feature_maps(assessment, explained[:MAPPED])
        found["grad_cam"] = activations.heat_maps(
            "Grad-CAM: what speaks for the predicted class", told, heat
        )
        found["feature_maps"] = activations.feature_maps(told[:MAPPED], maps)
        found["neighbours"] = neighbours(assessment, _some_of_both(spread, wrong, QUERIES))
    if (kernels := filters(assessment)) is not None:
        found["filters"] = activations.filters(kernels)
    if assessment.trained.config.report.occlusion:
        heat = occlusion(assessment, explained)
        found["occlusion"] = activations.heat_maps(
            "Occlusion: what the predicted class cannot do without", told, heat
        )
    if doubtful:
        suggested = [
            one._replace(
                prediction=assessment.trained.class_names[suspect.suggestion],
                probability=float(shares[suspect.position, suspect.suggestion]),
            )
            for one, suspect in zip(say([s.position for s in doubtful]), doubtful, strict=True)
        ]
        found["label_errors"] = galleries.likely_label_errors(suggested)
    return found


def suspects(assessment: Assessment) -> list[Suspect]:
    """Likely label errors among the assessed examples, the likeliest first."""
    return likely_label_errors(assessment.label, assessment.probabilities, _LISTED)


def images(assessment: Assessment, positions: Positions) -> np.ndarray:
    """The assessed images at `positions` as the model sees them, uint8[n, H, W, C]."""
    order = np.argsort(positions, kind="stable")
    found = np.empty((len(positions), *assessment.trained.image_shape), np.uint8)
    done = 0
    for part in parts_at(assessment.examined.parts, np.asarray(positions, np.int64)[order]):
        (batch,) = eval_batches(part, len(part))
        found[order[done : done + len(part)]] = batch["image"]
        done += len(part)
    return found


def pictures(assessment: Assessment, positions: Positions) -> list[np.ndarray]:
    """The assessed images at `positions` for people: what the model sees, but of files with as
    many pixels as are shown, uint8[h, w, C] each.
    """
    found: list[np.ndarray] = list(images(assessment, positions))
    model_size = min(assessment.trained.image_shape[:2])
    if assessment.paths is None or model_size >= _SHOWN:
        return found
    order = np.argsort(positions, kind="stable")
    parts = parts_at(assessment.examined.parts, np.asarray(positions, np.int64)[order])
    rows = [(part.source, row) for part in parts if part.source for row in part.rows.tolist()]
    for place, (source, row) in zip(order.tolist(), rows, strict=True):
        how = assessment.examined.how
        (content,), _ = source.read(np.array([row]))
        try:
            image = decode(require_content(content), how, at_least=_SHOWN)
        except ValueError:  # the file has changed meanwhile
            continue
        size = min(_SHOWN, *image.shape[:2])
        if size > model_size:
            found[place] = fit(image, how._replace(image_size=size))
    return found


def predictions(assessment: Assessment, positions: Positions) -> list[Prediction]:
    """The images at `positions` with what the model says."""
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


def seen(assessment: Assessment, positions: Positions) -> jax.Array:
    """The images at `positions` as the first layer sees them, float32[n, H, W, C]."""
    return assessment.trained.normalize(jnp.asarray(images(assessment, positions)))


def predicted(assessment: Assessment, positions: Positions) -> jax.Array:
    """The predicted classes, int32[n]."""
    return jnp.asarray(assessment.logits[np.asarray(positions)].argmax(-1))


def grad_cam(assessment: Assessment, positions: Positions) -> np.ndarray:
    """Float32[n, H, W] in 0..1 for the predicted classes; nothing where no stage has a map."""
    trained = assessment.trained
    image = seen(assessment, positions)
    variables = trained.variables
    if not explain.spatial_stages(trained.model, variables, image):
        return np.zeros(image.shape[:3], np.float32)
    chosen = predicted(assessment, positions)
    return np.asarray(jax.jit(partial(explain.grad_cam, trained.model))(variables, image, chosen))


def occlusion(assessment: Assessment, positions: Positions) -> np.ndarray:
    """Float32[n, H, W] in 0..1: the largest drop of the predicted class's probability is 1."""
    trained = assessment.trained
    image = seen(assessment, positions)
    chosen = predicted(assessment, positions)
    drop = jax.jit(partial(explain.occlusion, trained.model))(trained.variables, image, chosen)
    drop = np.maximum(np.asarray(drop), 0)
    return drop / np.maximum(drop.max((1, 2), keepdims=True), 1e-6)


def feature_maps(assessment: Assessment, positions: Positions) -> dict[str, np.ndarray]:
    """What each stage gives for the images at `positions`: float32[n, h, w, c] by name."""
    trained = assessment.trained
    image = seen(assessment, positions)
    maps = jax.jit(partial(explain.feature_maps, trained.model))(trained.variables, image)
    return {name: np.asarray(value) for name, value in maps.items()}


def filters(assessment: Assessment) -> np.ndarray | None:
    """The kernels of the first convolution, float32[kh, kw, c_in, c_out]."""
    trained = assessment.trained
    image = jnp.zeros((1, *trained.image_shape), jnp.float32)
    kernels = explain.first_layer_filters(trained.model, trained.variables, image)
    return None if kernels is None else np.asarray(kernels)


def neighbours(assessment: Assessment, queries: Sequence[int]) -> Gallery:
    """Of each query the assessed images most like it, by the features before the last layer."""
    candidates = np.union1d(featured(assessment), queries)
    vectors = features(assessment, candidates)
    own = np.searchsorted(candidates, queries)
    rows, distances = nearest(vectors, vectors[own], NEIGHBOURS + 1)
    names, found = assessment.trained.class_names, []
    for me, near, distance in zip(own, rows, distances, strict=True):
        others = candidates[near[near != me]][:NEIGHBOURS]
        found.append(
            [
                Neighbour(image, name_of(assessment, i), names[assessment.label[i]], float(far))
                for i, image, far in zip(
                    others, pictures(assessment, others), distance[near != me], strict=False
                )
            ]
        )
    return galleries.nearest_neighbours(predictions(assessment, queries), found)


def projection(assessment: Assessment, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A map of the assessed images: points float64[n, 2] and their labels int32[n]."""
    positions = featured(assessment)
    return PROJECTIONS[name](features(assessment, positions)), assessment.label[positions]


def featured(assessment: Assessment) -> np.ndarray:
    """Positions of at most 2,000 assessed images, from all over."""
    return spread_over(len(assessment.label), _FEATURES)


def features(assessment: Assessment, positions: np.ndarray) -> np.ndarray:
    """What the last layer sees of the images at `positions` (in order), float32[n, D]."""
    trained = assessment.trained
    run = on_devices(trained, predict_step_of(trained, features=True))
    found = [run(part)["penultimate"] for part in parts_at(assessment.examined.parts, positions)]
    return np.concatenate(found)


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
