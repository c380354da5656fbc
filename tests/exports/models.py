"""Models with weights nobody trained, and pieces of two photographs for them to look at."""

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_sample_images

from jaxcnn.core.augment import normalize
from jaxcnn.core.models import MODELS
from jaxcnn.exports.model import Model

CLASSES = tuple("abcdefghij")


def crops(size, count=65):
    """Pieces of scikit-learn's photographs, uint8[count, size, size, 3]."""
    photos = load_sample_images().images
    chance = np.random.default_rng(0)
    found = []
    for number in range(count):
        photo = photos[number % len(photos)]
        top, left = (chance.integers(0, side - size) for side in photo.shape[:2])
        found.append(photo[top : top + size, left : left + size])
    return np.stack(found)


def make_model(name, size=32, batch=None, **keywords):
    """A model of MODELS whose statistics, scales and biases differ between channels."""
    module = MODELS[name](num_classes=len(CLASSES), **keywords)
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    shapes = jax.eval_shape(lambda x: module.init(jax.random.key(0), x, train=False), image)
    chance = np.random.default_rng(0)

    def drawn(where, leaf):
        kind, noise = where[-1].key, chance.standard_normal(leaf.shape).astype(np.float32)
        if kind == "scale":  # so small that what blocks add does not grow with their number
            return 0.5 * np.exp(0.2 * noise)
        if kind == "var":
            return np.exp(0.2 * noise)
        if kind in ("kernel", "layer_scale") and len(leaf.shape) > 1:
            return noise * np.float32(2 / np.prod(leaf.shape[:-1])) ** np.float32(0.5)
        return np.float32(0.1) * noise

    variables = jax.tree_util.tree_map_with_path(drawn, shapes)

    def probabilities(variables, image):
        seen = normalize(image, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
        return jax.nn.softmax(module.apply(variables, seen, train=False))

    card = {"name": name, "model": name, "class_names": list(CLASSES), "checkpoint_step": 0}
    return Model(probabilities, variables, (size, size, 3), card, batch)
