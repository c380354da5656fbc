"""Keras 3, on the backend that KERAS_BACKEND names: a functional model, `compile` and `fit`."""

from collections.abc import Callable
from functools import partial

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from peers.task import LEARNING_RATE, MOMENTUM, NUM_CLASSES, WEIGHT_DECAY, WIDTHS, Task, weights
from peers.tf_data import train_data

# L2's derivative is decay times the kernel, as in the other frameworks; the optimiser's own
# `weight_decay` is that of AdamW.
_DECAY = keras.regularizers.L2(WEIGHT_DECAY / 2)
_conv = partial(
    layers.Conv2D, kernel_size=3, use_bias=False, padding="same", kernel_regularizer=_DECAY
)
_norm = partial(layers.BatchNormalization, momentum=0.9, epsilon=1e-5)


def _on_gpu() -> bool:
    if keras.backend.backend() == "tensorflow":
        return bool(tf.config.list_physical_devices("GPU"))
    return any(name.startswith("gpu") for name in keras.distribution.list_devices())


def cnn(x):
    for width in WIDTHS["cnn"]:
        x = layers.MaxPooling2D()(_conv(width)(x))
        x = layers.ReLU()(_norm()(x))
        x = layers.ReLU()(_norm()(_conv(width)(x)))
    return x


def resnet20(x):
    x = layers.ReLU()(_norm()(_conv(WIDTHS["resnet20_cifar"][0])(x)))
    for width in WIDTHS["resnet20_cifar"]:
        for _ in range(3):
            if added := width - x.shape[-1]:
                y = _conv(width, strides=2, padding="valid")(layers.ZeroPadding2D(1)(x))
                half = added // 2
                x = keras.ops.pad(x[:, ::2, ::2], ((0, 0), (0, 0), (0, 0), (half, half)))
            else:
                y = _conv(width)(x)
            y = _norm()(_conv(width)(layers.ReLU()(_norm()(y))))
            x = layers.ReLU()(layers.Add()([x, y]))
    return x


def make_model(task: Task) -> keras.Model:
    keras.mixed_precision.set_global_policy(
        {"float32": "float32", "bfloat16": "mixed_bfloat16"}[task.dtype]
    )
    image = keras.Input((32, 32, 3), dtype="uint8")
    x = {"cnn": cnn, "resnet20_cifar": resnet20}[task.network](layers.Rescaling(1 / 255)(image))
    x = layers.GlobalAveragePooling2D()(x)
    logits = layers.Dense(NUM_CLASSES, kernel_regularizer=_DECAY, dtype="float32")(x)
    model = keras.Model(image, logits)
    for variable, value in zip(model.trainable_variables, weights(task.network), strict=True):
        variable.assign(value)
    model.compile(
        optimizer=keras.optimizers.SGD(LEARNING_RATE, MOMENTUM, nesterov=True),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy", keras.metrics.SparseCategoricalCrossentropy("nll", from_logits=True)],
        # TensorFlow's own kernels, oneDNN's, are faster on a CPU than XLA's; JAX has only XLA.
        jit_compile="auto" if keras.backend.backend() == "jax" else bool(_accelerators()),
    )
    return model


def _accelerators() -> list:
    return tf.config.list_physical_devices("GPU") + tf.config.list_physical_devices("TPU")


def build(task: Task) -> dict[str, Callable]:
    model = make_model(task)
    batch = task.batch()
    constant = tf.data.Dataset.from_tensors(batch).repeat()
    batches = train_data(task)

    def fit(data, steps):
        return model.fit(data, steps_per_epoch=steps, verbose=0).history

    def check():
        logits = keras.ops.convert_to_numpy(model(batch[0], training=True))
        losses = [fit(constant, 1)["nll"][0] for _ in range(3)]
        parameters = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
        platform = "gpu" if _on_gpu() else "cpu"
        return {
            "parameters": parameters,
            "logits": logits,
            "losses": losses,
            "platform": platform,
        }

    return {
        "check": check,
        "step": lambda n: fit(constant, n),
        "loop": lambda: fit(batches, task.steps),
    }
