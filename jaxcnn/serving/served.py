"""A model that is served: its classifier, the queue before it, and what it looks at."""

import base64
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.core import explain
from jaxcnn.errors import UserError
from jaxcnn.inference.classifier import Classifier
from jaxcnn.report.activations import overlaid
from jaxcnn.report.galleries import fitted, thumbnail
from jaxcnn.serving.batching import Batcher

# Images that are explained at once: few, so that a batch of explanations takes no long time.
_EXPLAINED = 8
# Pixels of an explanation's longer side.
_SIDE = 224


class Served(NamedTuple):
    """answers: images -> probabilities float32[n, K]. maps: images -> Grad-CAM of their likeliest
    class, float32[n, H, W]; None for a model that gives none.
    """

    name: str
    classifier: Classifier
    answers: Batcher
    maps: Batcher | None

    @property
    def batchers(self) -> list[Batcher]:
        return [self.answers] if self.maps is None else [self.answers, self.maps]

    def warm_up(self) -> float:
        """Runs every size of batch once, so that no request waits for a compilation; seconds."""
        started = time.perf_counter()
        shape = self.classifier.image_shape
        for batcher in self.batchers:
            for power in range(batcher.most.bit_length()):
                batcher.run(np.zeros((1 << power, *shape), np.uint8))
        return time.perf_counter() - started


def serve_model(
    name: str, classifier: Classifier, most: int, delay: float, waiting: int, workers: int
) -> Served:
    """See `Batcher` for the numbers."""
    answers = Batcher(classifier.probabilities, most, delay, waiting, workers)
    looks = make_maps(classifier)
    maps = None if looks is None else Batcher(looks, min(most, _EXPLAINED), 0.0, waiting)
    return Served(name, classifier, answers, maps)


def by_name(models: Iterable[Served]) -> dict[str, Served]:
    """The models by name, the first one first; UserError where two have the same."""
    served: dict[str, Served] = {}
    for model in models:
        if model.name in served:
            raise UserError(
                f"two models are called {model.name!r}; give one another name, as in "
                f"--workdir={model.name}2=FOLDER or --artifact={model.name}2=FILE.onnx"
            )
        served[model.name] = model
    return served


def make_maps(classifier: Classifier) -> Callable[[np.ndarray], np.ndarray] | None:
    """Returns `uint8[n, H, W, C] -> float32[n, H, W]` in 0..1: Grad-CAM of each image's likeliest
    class. None for an exported file, which holds no gradient, and for a model without maps.
    """
    trained = classifier.trained
    if trained is None:
        return None
    model, normalize, variables = trained.model, trained.normalize, trained.variables
    image = jnp.zeros((1, *classifier.image_shape), jnp.float32)
    if not explain.spatial_stages(model, variables, image):
        return None

    @jax.jit
    def look(variables: Any, image: jax.Array) -> jax.Array:
        seen = normalize(image)
        chosen = jnp.asarray(model.apply(variables, seen, train=False)).argmax(-1)
        return explain.grad_cam(model, variables, seen, chosen)

    variables = jax.device_put(variables)

    def maps(images: np.ndarray) -> np.ndarray:  # one program for any number of images
        return np.concatenate([look(variables, images[k : k + 1]) for k in range(len(images))])

    return maps


def picture(image: np.ndarray) -> str:
    """uint8[h, w, 1 or 3], as large as explanations are shown, as a data URL."""
    content = thumbnail(image, _SIDE)
    kind = "png" if content.startswith(b"\x89PNG") else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def heat_picture(image: np.ndarray, heat: np.ndarray) -> str:
    """The image in grey under its map float32[H, W], as in the report."""
    return picture(overlaid(fitted(image, _SIDE), heat))
