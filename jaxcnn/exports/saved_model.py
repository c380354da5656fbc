"""saved_model/: TensorFlow's format, for TensorFlow Serving: the signature `serving_default` takes
`image` and gives `probabilities`. It is made of the layers that `jaxcnn.exports.keras` finds, so
that it holds TensorFlow's own operations and runs without JAX.
"""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxcnn.errors import UserError
from jaxcnn.exports.keras import build_keras, import_keras
from jaxcnn.exports.model import Model
from jaxcnn.files.paths import plain_name


def write(path: Path, model: Model) -> None:
    """Writes a directory. Takes Keras on TensorFlow, which one process can only have instead of
    Keras on JAX.
    """
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import tensorflow as tf

    if (backend := import_keras().backend.backend()) != "tensorflow":
        raise UserError(
            f"saved_model: is made by Keras on TensorFlow, and here Keras is on {backend}; start "
            "another process for it, with KERAS_BACKEND unset"
        )
    net = build_keras(model)
    image = tf.TensorSpec((model.batch, *model.image_shape), tf.uint8, name="image")
    module = tf.Module()
    module.net = net  # whose variables are then kept with it
    module.serve = tf.function(
        lambda image: {"probabilities": net(image, training=False)}, input_signature=[image]
    )
    folder = str(plain_name(path.parent) / path.name)
    tf.saved_model.save(module, folder, signatures={"serving_default": module.serve})


def load(path: Path, model: Model) -> Callable[[np.ndarray], np.ndarray]:
    """The signature in a directory, as a function of arrays."""
    import tensorflow as tf

    folder = str(plain_name(path.parent) / path.name)  # its reader takes "[" for a pattern
    loaded = tf.saved_model.load(folder)  # kept, as a signature alone does not keep variables
    return lambda image: np.asarray(
        loaded.signatures["serving_default"](image=tf.constant(image))["probabilities"]
    )
