"""model.keras, model.h5 and saved_model/: native Keras layers, in the layout [B, H, W, C].

The first two open with `keras.models.load_model` on any backend, with nothing of jaxcnn installed.
There are layers for what a CNN is commonly made of; a model with another operation is refused.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.errors import UserError
from jaxcnn.exports.graph import Node, Unsupported, walk
from jaxcnn.exports.model import Model
from jaxcnn.files.paths import plain_name

Tensor = Any

_OF_SEVERAL = ("Add", "Concatenate", "Maximum", "Minimum", "Multiply", "Subtract")

# Numbers by channel that stand in a layer's config, and do not need weights of their own.
_FEW = 4


def build_keras(model: Model) -> Any:
    """The model as `keras.Model`; raises Unsupported."""
    keras = import_keras()
    made: dict[int, Tensor] = {}
    for number, node in enumerate(nodes := walk(model.graph)):
        if node.op == "image":
            size = {"batch_size": model.batch, "dtype": "uint8", "name": "image"}
            made[id(node)] = keras.Input(model.image_shape, **size)
            continue
        if node.op not in LAYERS:
            raise _no_layer(f"the operation {node.op}")
        constant = any(not isinstance(x, Node) for x in node.inputs)
        if constant and node.op != "pad":
            raise _no_layer(f"{node.op} with a constant")
        tensors = [made[id(x)] for x in node.inputs if isinstance(x, Node)]
        name = "probabilities" if node is nodes[-1] else f"{node.op}_{number}"
        made[id(node)] = LAYERS[node.op](node, name, *tensors)
    return keras.Model(made[id(nodes[0])], made[id(nodes[-1])], name="jaxcnn")


def import_keras() -> Any:
    """Keras, on JAX unless KERAS_BACKEND says otherwise."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    return keras


def write(path: Path, model: Model) -> None:
    """Writes .keras or .h5, as the path ends."""
    build_keras(model).save(path)


def load(path: Path, model: Model) -> Callable[[np.ndarray], np.ndarray]:
    """The model in a file, as a function of arrays."""
    keras = import_keras()
    loaded = keras.models.load_model(path, compile=False)
    return lambda image: np.asarray(keras.ops.convert_to_numpy(loaded(image, training=False)))


def write_saved_model(path: Path, model: Model) -> None:
    """Writes a directory for TensorFlow Serving, of TensorFlow's own operations: the signature
    `serving_default` takes `image` and gives `probabilities`.

    It takes Keras on TensorFlow, which one process can only have instead of Keras on JAX.
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


def load_saved_model(path: Path, model: Model) -> Callable[[np.ndarray], np.ndarray]:
    """The signature in a directory, as a function of arrays."""
    import tensorflow as tf

    folder = str(plain_name(path.parent) / path.name)  # its reader takes "[" for a pattern
    loaded = tf.saved_model.load(folder)  # kept, as a signature alone does not keep variables
    return lambda image: np.asarray(
        loaded.signatures["serving_default"](image=tf.constant(image))["probabilities"]
    )


def _no_layer(what: str) -> Unsupported:
    return Unsupported(f"{what}, for which Keras has no layer")


def _layer(name: str) -> Any:
    import keras

    return getattr(keras.layers, name)


def _simple(
    layer: str, options: Callable[[Node], dict[str, Any]] = lambda node: {}, **fixed: Any
) -> Callable[..., Tensor]:
    """A layer without weights. options: those that depend on the node."""

    def make(node: Node, name: str, *tensors: Tensor) -> Tensor:
        made = _layer(layer)(**options(node), **fixed, name=name)
        return made(list(tensors) if layer in _OF_SEVERAL else tensors[0])

    return make


def _with_weights(layer: Any, tensor: Tensor, *weights: np.ndarray | None) -> Tensor:
    result = layer(tensor)
    layer.set_weights([np.asarray(one) for one in weights if one is not None])
    return result


def _padded(node: Node, name: str, tensor: Tensor) -> Tensor:
    """Zeros around an image, as a layer of its own where there are any."""
    padding = node.attributes["padding"]
    if not np.any(padding):
        return tensor
    if np.min(padding) < 0:
        raise _no_layer("padding below zero")
    return _layer("ZeroPadding2D")(padding, name=f"{name}_padding")(tensor)


def _conv(node: Node, name: str, tensor: Tensor) -> Tensor:
    options, kernel = node.attributes, node.attributes["kernel"]
    tensor = _padded(node, name, tensor)
    height, width, into, out = kernel.shape
    keywords = {
        "strides": options["strides"],
        "dilation_rate": options["dilation"],
        "use_bias": options["bias"] is not None,
        "name": name,
    }
    if options["groups"] == node.inputs[0].shape[-1] > 1 and into == 1:
        layer = _layer("DepthwiseConv2D")(
            (height, width), depth_multiplier=out // options["groups"], **keywords
        )
        kernel = kernel.reshape(height, width, options["groups"], -1)
    else:
        keywords["groups"] = options["groups"]
        layer = _layer("Conv2D")(out, (height, width), **keywords)
    return _with_weights(layer, tensor, kernel, options["bias"])


def _dense(node: Node, name: str, tensor: Tensor) -> Tensor:
    kernel, bias = node.attributes["kernel"], node.attributes["bias"]
    layer = _layer("Dense")(kernel.shape[1], use_bias=bias is not None, name=name)
    return _with_weights(layer, tensor, kernel, bias)


def _affine(node: Node, name: str, tensor: Tensor) -> Tensor:
    scale, bias = node.attributes["scale"], node.attributes["bias"]
    if (scale == scale[0]).all() and (bias == bias[0]).all():
        return _layer("Rescaling")(float(scale[0]), float(bias[0]), name=name)(tensor)
    if len(scale) <= _FEW:
        return _layer("Rescaling")(scale.tolist(), bias.tolist(), name=name)(tensor)
    layer = _layer("BatchNormalization")(epsilon=0.0, name=name)
    zeros, ones = np.zeros_like(scale), np.ones_like(scale)
    return _with_weights(layer, tensor, scale, bias, zeros, ones)


def _layer_norm(node: Node, name: str, tensor: Tensor) -> Tensor:
    options = node.attributes
    layer = _layer("LayerNormalization")(epsilon=options["epsilon"], name=name)
    return _with_weights(layer, tensor, options["scale"], options["bias"])


def _cast(node: Node, name: str, tensor: Tensor) -> Tensor:
    if node.dtype != np.float32:
        raise _no_layer(f"{node.dtype} numbers")
    return _layer("Rescaling")(1.0, name=name)(tensor)


def _clip(node: Node, name: str, tensor: Tensor) -> Tensor:
    if node.attributes["low"] != 0:
        raise _no_layer("a limit that is not 0")
    return _layer("ReLU")(max_value=node.attributes["high"], name=name)(tensor)


def _pool(node: Node, name: str, tensor: Tensor) -> Tensor:
    options, (x,) = node.attributes, node.inputs
    positive = isinstance(x, Node) and x.op == "clip" and x.attributes["low"] == 0
    if node.op == "max_pool" and np.any(options["padding"]) and not positive:
        raise _no_layer("padded maxima of values below zero")
    layer = "MaxPooling2D" if node.op == "max_pool" else "AveragePooling2D"
    tensor = _padded(node, name, tensor)
    tensor = _layer(layer)(options["window"], strides=options["strides"], name=name)(tensor)
    if node.op == "sum_pool":
        return _layer("Rescaling")(float(np.prod(options["window"])), name=f"{name}_sum")(tensor)
    return tensor


def _reduce(node: Node, name: str, tensor: Tensor) -> Tensor:
    if tuple(node.attributes["axes"]) != (1, 2):
        raise _no_layer(f"{node.op} that is not over height and width")
    layer = "GlobalMaxPooling2D" if node.op == "reduce_max" else "GlobalAveragePooling2D"
    keep = node.attributes.get("keep", False)
    return _layer(layer)(keepdims=keep, name=name)(tensor)


def _slice(node: Node, name: str, tensor: Tensor) -> Tensor:
    (x,), options = node.inputs, node.attributes
    starts, ends = options["start_indices"], options["limit_indices"]
    _, down, across, step = options["strides"] or (1,) * len(starts)
    if len(starts) != 4 or step != 1 or (starts[3], ends[3]) != (0, x.shape[3]):
        raise _no_layer("some of the channels")
    cropping = [(starts[axis], x.shape[axis] - ends[axis]) for axis in (1, 2)]
    if np.any(cropping):
        tensor = _layer("Cropping2D")(cropping, name=f"{name}_crop")(tensor)
    # The maximum of a single pixel is every stride-th pixel.
    return _layer("MaxPooling2D")(1, strides=(down, across), name=name)(tensor)


def _pad(node: Node, name: str, tensor: Tensor) -> Tensor:
    low, high, interior = zip(*node.attributes["padding_config"], strict=True)
    value = node.inputs[1]
    if len(low) != 4 or any(interior) or isinstance(value, Node) or value != 0:
        raise _no_layer("padding with other numbers than 0")
    if min(low + high) < 0:
        raise _no_layer("padding below zero")
    if any(low[1:3] + high[1:3]):
        padding = tuple(zip(low[1:3], high[1:3], strict=True))
        tensor = _layer("ZeroPadding2D")(padding, name=f"{name}_space")(tensor)
    # Channels of zeros: a 1x1 convolution that moves the others.
    before, after = node.inputs[0].shape[3], node.shape[3]
    kernel = np.eye(before, after, low[3], dtype=np.float32)[None, None]
    layer = _layer("Conv2D")(after, 1, use_bias=False, trainable=False, name=name)
    return _with_weights(layer, tensor, kernel)


# (node, name, its tensors) -> tensor
LAYERS: dict[str, Callable[..., Tensor]] = {
    "add": _simple("Add"),
    "affine": _affine,
    "avg_pool": _pool,
    "clip": _clip,
    "concatenate": _simple("Concatenate", lambda node: {"axis": node.attributes["dimension"]}),
    "conv": _conv,
    "convert_element_type": _cast,
    "dense": _dense,
    "elu": _simple("ELU"),
    "exp": _simple("Activation", activation="exponential"),
    "gelu": _simple("Activation", activation="gelu"),
    "layer_norm": _layer_norm,
    "leaky_relu": _simple("LeakyReLU", lambda node: {"negative_slope": node.attributes["slope"]}),
    "logistic": _simple("Activation", activation="sigmoid"),
    "max": _simple("Maximum"),
    "max_pool": _pool,
    "mean": _reduce,
    "min": _simple("Minimum"),
    "mul": _simple("Multiply"),
    "pad": _pad,
    "reduce_max": _reduce,
    "reshape": _simple("Reshape", lambda node: {"target_shape": node.shape[1:]}),
    "slice": _slice,
    "softmax": _simple("Softmax"),
    "sub": _simple("Subtract"),
    "sum_pool": _pool,
    "tanh": _simple("Activation", activation="tanh"),
    "transpose": _simple("Permute", lambda node: {"dims": node.attributes["permutation"][1:]}),
}
