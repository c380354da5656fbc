"""model.onnx, for onnxruntime and whatever else reads ONNX: operations of opset 17, in the layout
[B, C, H, W] that its convolutions take.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.exports.graph import Node, Unsupported, walk
from jaxcnn.exports.model import Model
from jaxcnn.exports.onnx_elementwise import OPERATIONS
from jaxcnn.exports.onnx_writer import FIRST, Writer

# LayerNormalization came with 17; what has this or a later one reads the file.
OPSET, IR_VERSION = 17, 8

_PLACE = {0: 0, 1: 2, 2: 3, 3: 1}  # of an axis of [B, H, W, C] in [B, C, H, W]


def write(path: Path, model: Model) -> None:
    """Writes a file with the input `image`, uint8[B, H, W, C], and the output `probabilities`; the
    content of model.json is in its metadata_props, as "jaxcnn". Raises Unsupported.
    """
    import onnx
    from onnx import TensorProto, helper

    writer, last = Writer(), model.graph
    for node in walk(last):
        writer.add(node, *WRITERS.get(node.op, _plain)(writer, node))
    writer.node("Identity", [writer.layout(last, False)], "probabilities")
    batch = "B" if model.batch is None else model.batch
    rows = [batch, last.shape[1]]
    graph = helper.make_graph(
        writer.nodes,
        model.card["model"],
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [batch, *model.image_shape])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, rows)],
        writer.constants,
    )
    opset = helper.make_opsetid("", OPSET)
    proto = helper.make_model(
        graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="jaxcnn"
    )
    helper.set_model_props(proto, {"jaxcnn": json.dumps(model.card)})
    onnx.checker.check_model(proto)
    path.write_bytes(proto.SerializeToString())


def load(path: Path, model: Model) -> Callable[[np.ndarray], np.ndarray]:
    """The model in a file, run by onnxruntime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda image: session.run(["probabilities"], {"image": image})[0]


Written = tuple[str, bool]


def _image(writer: Writer, node: Node) -> Written:
    # Bytes are moved, not floats.
    return writer.node("Transpose", ["image"], perm=FIRST), True


def _plain(writer: Writer, node: Node) -> Written:
    """An operation on each value, of one node in ONNX or some."""
    if node.op not in OPERATIONS:
        raise Unsupported(f"the operation {node.op}")
    first = any(writer.made_first(x) for x in node.inputs)
    names = [writer.layout(x, first) for x in node.inputs]
    return OPERATIONS[node.op](writer, node, *names), first


def _on_images(writer: Writer, node: Node, names: list[str], op: str, **attributes: Any) -> str:
    """A convolution or a pooling, with the attributes they share."""
    given = node.attributes
    (top, bottom), (left, right) = given["padding"]
    pads = [top, left, bottom, right]
    return writer.node(op, names, strides=given["strides"], pads=pads, **attributes)


def _conv(writer: Writer, node: Node) -> Written:
    given = node.attributes
    kernel = np.asarray(given["kernel"]).transpose(3, 2, 0, 1)
    names = [writer.layout(node.inputs[0], True), writer.constant(kernel)]
    if given["bias"] is not None:
        names.append(writer.constant(given["bias"]))
    shape, group = kernel.shape[2:], given["groups"]
    sizes = {"kernel_shape": shape, "dilations": given["dilation"], "group": group}
    return _on_images(writer, node, names, "Conv", **sizes), True


def _max_pool(writer: Writer, node: Node) -> Written:
    names = [writer.layout(node.inputs[0], True)]
    window = node.attributes["window"]
    return _on_images(writer, node, names, "MaxPool", kernel_shape=window), True


def _avg_pool(writer: Writer, node: Node) -> Written:
    names, window = [writer.layout(node.inputs[0], True)], node.attributes["window"]
    how = {"kernel_shape": window, "count_include_pad": 1}
    name = _on_images(writer, node, names, "AveragePool", **how)
    if node.op == "sum_pool":
        name = writer.node("Mul", [name, writer.constant(np.float32(np.prod(window)))])
    return name, True


def _dense(writer: Writer, node: Node) -> Written:
    x, kernel = writer.layout(node.inputs[0], False), writer.constant(node.attributes["kernel"])
    bias = node.attributes["bias"]
    if len(node.shape) == 2:
        rest = [] if bias is None else [writer.constant(bias)]
        return writer.node("Gemm", [x, kernel, *rest]), False
    name = writer.node("MatMul", [x, kernel])
    return (name if bias is None else writer.node("Add", [name, writer.constant(bias)])), False


def _layer_norm(writer: Writer, node: Node) -> Written:
    given = node.attributes
    names = [writer.layout(node.inputs[0], False)]
    names += [writer.constant(given[key]) for key in ("scale", "bias")]
    return writer.node("LayerNormalization", names, axis=-1, epsilon=given["epsilon"]), False


def _softmax(writer: Writer, node: Node) -> Written:
    return writer.node("Softmax", [writer.layout(node.inputs[0], False)], axis=-1), False


def _affine(writer: Writer, node: Node) -> Written:
    (x,), given = node.inputs, node.attributes
    first = writer.made_first(x)
    name = writer.layout(x, first)
    for op, key, nothing in (("Mul", "scale", 1), ("Add", "bias", 0)):
        numbers = given[key]
        if (numbers == numbers[0]).all():
            numbers = numbers[0]
        if (numbers != nothing).any():
            placed = numbers.reshape(-1, 1, 1) if first and numbers.ndim else numbers
            name = writer.node(op, [name, writer.constant(placed)])
    return name, first


def _reduce(writer: Writer, node: Node) -> Written:
    (x,), axes = node.inputs, node.attributes["axes"]
    keep = node.attributes.get("keep", False)
    first = writer.made_first(x) and set(axes) == {1, 2}
    name, axes = writer.layout(x, first), [_PLACE[axis] if first else axis for axis in axes]
    if node.op == "mean" and first:
        name = writer.node("GlobalAveragePool", [name])
        return (name, True) if keep else (writer.node("Flatten", [name]), False)
    op = {"mean": "ReduceMean", "reduce_max": "ReduceMax", "reduce_min": "ReduceMin"}
    if node.op == "reduce_sum":  # since opset 13 its axes are an input
        name = writer.node("ReduceSum", [name, writer.constant(np.array(axes))], keepdims=keep)
    else:
        name = writer.node(op[node.op], [name], axes=axes, keepdims=keep)
    return name, first and keep


def _reshape(writer: Writer, node: Node) -> Written:
    (x,), shape = node.inputs, node.shape
    # Between [B, C] and [B, 1, 1, C] nothing moves.
    first = shape[1:3] == (1, 1) and len(shape) == 4
    given_first = writer.made_first(x) and x.shape[1:3] == (1, 1)
    moved = [shape[place] for place in FIRST] if first else list(shape)
    sizes = writer.constant(np.array([0, *moved[1:]]))
    return writer.node("Reshape", [writer.layout(x, given_first), sizes]), first


def _expand(writer: Writer, node: Node) -> Written:
    sizes = writer.constant(np.array([1, *node.shape[1:]]))
    return writer.node("Expand", [writer.layout(node.inputs[0], False), sizes]), False


def _pad(writer: Writer, node: Node) -> Written:
    x, value = node.inputs
    low, high, interior = zip(*node.attributes["padding_config"], strict=True)
    if any(interior) or isinstance(value, Node):
        raise Unsupported("zeros between the values of a convolution")
    first = writer.made_first(x)
    if first:
        low, high = (tuple(side[place] for place in FIRST) for side in (low, high))
    names = [writer.layout(x, first), writer.constant(np.array([*low, *high]))]
    return writer.node("Pad", [*names, writer.constant(np.asarray(value))]), first


def _slice(writer: Writer, node: Node) -> Written:
    (x,), given = node.inputs, node.attributes
    first = writer.made_first(x)
    starts, ends = given["start_indices"], given["limit_indices"]
    steps = given["strides"] or (1,) * len(starts)
    if (starts[0], ends[0], steps[0]) != (0, node.shape[0], 1):
        raise Unsupported("a part of the images of a batch")
    axes = [_PLACE[axis] if first else axis for axis in range(1, len(starts))]
    numbers = [np.array(one) for one in (starts[1:], ends[1:], axes, steps[1:])]
    return writer.node("Slice", [writer.layout(x, first), *map(writer.constant, numbers)]), first


def _concatenate(writer: Writer, node: Node) -> Written:
    first, axis = any(map(writer.made_first, node.inputs)), node.attributes["dimension"]
    if not all(isinstance(x, Node) for x in node.inputs):
        raise Unsupported("constants beside images")
    names = [writer.layout(x, first) for x in node.inputs]
    return writer.node("Concat", names, axis=_PLACE[axis] if first else axis), first


def _transpose(writer: Writer, node: Node) -> Written:
    name = writer.layout(node.inputs[0], False)
    return writer.node("Transpose", [name], perm=node.attributes["permutation"]), False


# (writer, node) -> name of its output, and whether that is [B, C, H, W].
WRITERS: dict[str, Callable[[Writer, Node], Written]] = {
    "affine": _affine,
    "avg_pool": _avg_pool,
    "concatenate": _concatenate,
    "conv": _conv,
    "dense": _dense,
    "expand": _expand,
    "image": _image,
    "layer_norm": _layer_norm,
    "max_pool": _max_pool,
    "mean": _reduce,
    "pad": _pad,
    "reduce_max": _reduce,
    "reduce_min": _reduce,
    "reduce_sum": _reduce,
    "reshape": _reshape,
    "slice": _slice,
    "softmax": _softmax,
    "sum_pool": _avg_pool,
    "transpose": _transpose,
}
