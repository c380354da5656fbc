"""Writes keras.weights.h5, a small net by Keras, and keras_outputs.npy, what Keras makes of images.

    KERAS_BACKEND=jax python -m tests.pretrained.keras_reference

Written with Keras 3.15.1 on its JAX backend.
"""

from pathlib import Path

import numpy as np

WEIGHTS = Path(__file__).with_name("keras.weights.h5")
OUTPUTS = Path(__file__).with_name("keras_outputs.npy")


def images():
    """float32[2, 11, 9, 3]."""
    return np.random.default_rng(1).normal(size=(2, 11, 9, 3)).astype(np.float32)


def write(keras, path):
    """Writes the net's weights; returns float32[2, 5]."""
    layers = keras.layers
    net = keras.Sequential(
        [
            keras.Input((11, 9, 3)),
            layers.Conv2D(6, 3, strides=2, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(),
            layers.DepthwiseConv2D(3, depth_multiplier=2, name="depthwise"),
            layers.Conv2D(8, 1, groups=2, use_bias=False, name="grouped"),
            layers.LayerNormalization(name="layer_norm"),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.5),
            layers.Dense(5, name="head"),
        ]
    )
    draw = np.random.default_rng(0).uniform
    net.set_weights([draw(0.1, 1, weight.shape) for weight in net.get_weights()])
    net.save_weights(path)
    return np.asarray(net(images()))


if __name__ == "__main__":
    import keras

    np.save(OUTPUTS, write(keras, WEIGHTS))
