"""model.onnx, for onnxruntime and whatever else reads ONNX: operations of opset 17, in the layout
[B, C, H, W] that its convolutions take.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.exports.graph import Node, Operand, Unsupported, walk
from jaxcnn.exports.model import Model

FIRST = (0, 3, 1, 2)  # [B, H, W, C] to [B, C, H, W]
LAST = (0, 2, 3, 1)


class Writer:
    """Collects the nodes and constants of a file.

    A value of four axes is known in the layout it was made in, and in the other one as soon as an
    operation needs it.
    """

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._names: dict[tuple[int, bool], str] = {}
        self._made_first: dict[int, bool] = {}
        self._known: dict[tuple, str] = {}

    def add(self, node: Node, name: str, first: bool) -> None:
        """Keeps the name of a node's value, and whether it is [B, C, H, W]."""
        self._names[id(node), first] = name
        self._made_first[id(node)] = first

    def node(self, op: str, inputs: list[str], name: str | None = None, **attributes: Any) -> str:
        """Adds a node of one output; its name."""
        from onnx import helper

        name = name or f"{op}_{len(self.nodes)}".lower()
        options = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"{name}_node", **options))
        return name

    def constant(self, array: Any) -> str:
        """Adds a constant; its name. The same small one is kept once."""
        from onnx import numpy_helper

        array = np.asarray(array)
        key = (array.shape, array.dtype.str, array.tobytes() if array.size < 64 else None)
        if key[2] is None or key not in self._known:
            self._known[key] = f"constant_{len(self.constants)}"
            self.constants.append(numpy_helper.from_array(array, self._known[key]))
        return self._known[key]

    def made_first(self, x: Operand) -> bool:
        """Whether a value was made as [B, C, H, W]."""
        return isinstance(x, Node) and self._made_first[id(x)]

    def layout(self, x: Operand, first: bool) -> str:
        """The name of a node's value, or of a constant, in a layout."""
        if not isinstance(x, Node):
            return self.constant(x.transpose(FIRST) if first and x.ndim == 4 else x)
        first = first and len(x.shape) == 4
        if (id(x), first) not in self._names:
            before = self._names[id(x), not first]
            name = self.node("Transpose", [before], perm=FIRST if first else LAST)
            self._names[id(x), first] = name
        return self._names[id(x), first]


def _op(*steps: str | tuple[str, float]) -> Callable[..., str]:
    """One operation after the other; (operation, number) has the number as its last input."""

    def write(writer: Writer, node: Node, *names: str) -> str:
        for step in steps:
            op, *numbers = (step,) if isinstance(step, str) else step
            constants = [writer.constant(np.float32(number)) for number in numbers]
            names = (writer.node(op, [*names, *constants]),)
        return names[0]

    return write


def _cast(writer: Writer, node: Node, x: str) -> str:
    from onnx import helper

    return writer.node("Cast", [x], to=helper.np_dtype_to_tensor_dtype(node.dtype))


def _clip(writer: Writer, node: Node, x: str) -> str:
    low, high = node.attributes["low"], node.attributes["high"]
    if (low, high) == (0, None):
        return writer.node("Relu", [x])
    limits = ["" if v is None else writer.constant(np.float32(v)) for v in (low, high)]
    return writer.node("Clip", [x, *limits])


def _leaky_relu(writer: Writer, node: Node, x: str) -> str:
    return writer.node("LeakyRelu", [x], alpha=node.attributes["slope"])


def _gelu(writer: Writer, node: Node, x: str) -> str:
    # In the order in which onnxruntime knows it again.
    number = {value: writer.constant(np.float32(value)) for value in (0.5, 1.0, 2**0.5)}
    tail = writer.node("Erf", [writer.node("Div", [x, number[2**0.5]])])
    tail = writer.node("Add", [tail, number[1.0]])
    return writer.node("Mul", [writer.node("Mul", [x, tail]), number[0.5]])


def _select(writer: Writer, node: Node, which: str, *cases: str) -> str:
    if node.inputs[0].dtype != np.bool_ or len(cases) != 2:
        raise Unsupported("a choice between more than two")
    return writer.node("Where", [which, cases[1], cases[0]])


def _erfc(writer: Writer, node: Node, x: str) -> str:
    return writer.node("Sub", [writer.constant(np.float32(1)), writer.node("Erf", [x])])


# (writer, node, names of its inputs) -> name of its output; in the layout of the inputs.
OPERATIONS: dict[str, Callable[..., str]] = {
    "abs": _op("Abs"), "add": _op("Add"), "clip": _clip, "convert_element_type": _cast,
    "div": _op("Div"), "elu": _op("Elu"), "eq": _op("Equal"), "erf": _op("Erf"), "erfc": _erfc,
    "exp": _op("Exp"), "expm1": _op("Exp", ("Sub", 1)), "ge": _op("GreaterOrEqual"),
    "gelu": _gelu, "gt": _op("Greater"), "le": _op("LessOrEqual"), "leaky_relu": _leaky_relu,
    "log": _op("Log"), "log1p": _op(("Add", 1), "Log"), "logistic": _op("Sigmoid"),
    "lt": _op("Less"), "max": _op("Max"), "min": _op("Min"), "mul": _op("Mul"), "neg": _op("Neg"),
    "pow": _op("Pow"), "rsqrt": _op("Sqrt", "Reciprocal"), "select_n": _select,
    "sign": _op("Sign"), "sqrt": _op("Sqrt"), "sub": _op("Sub"), "tanh": _op("Tanh"),
}  # fmt: skip


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
    options = node.attributes
    (top, bottom), (left, right) = options["padding"]
    pads = [top, left, bottom, right]
    return writer.node(op, names, strides=options["strides"], pads=pads, **attributes)


def _conv(writer: Writer, node: Node) -> Written:
    options = node.attributes
    kernel = np.asarray(options["kernel"]).transpose(3, 2, 0, 1)
    names = [writer.layout(node.inputs[0], True), writer.constant(kernel)]
    if options["bias"] is not None:
        names.append(writer.constant(options["bias"]))
    shape, group = kernel.shape[2:], options["groups"]
    sizes = {"kernel_shape": shape, "dilations": options["dilation"], "group": group}
    return _on_images(writer, node, names, "Conv", **sizes), True


def _pool(writer: Writer, node: Node) -> Written:
    names, window = [writer.layout(node.inputs[0], True)], node.attributes["window"]
    if node.op == "max_pool":
        return _on_images(writer, node, names, "MaxPool", kernel_shape=window), True
    options = {"kernel_shape": window, "count_include_pad": 1}
    name = _on_images(writer, node, names, "AveragePool", **options)
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
    options = node.attributes
    names = [writer.layout(node.inputs[0], False)]
    names += [writer.constant(options[key]) for key in ("scale", "bias")]
    return writer.node("LayerNormalization", names, axis=-1, epsilon=options["epsilon"]), False


def _softmax(writer: Writer, node: Node) -> Written:
    return writer.node("Softmax", [writer.layout(node.inputs[0], False)], axis=-1), False


def _affine(writer: Writer, node: Node) -> Written:
    (x,), options = node.inputs, node.attributes
    first = writer.made_first(x)
    name = writer.layout(x, first)
    for op, key, nothing in (("Mul", "scale", 1), ("Add", "bias", 0)):
        numbers = options[key]
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
    (x,), options = node.inputs, node.attributes
    first = writer.made_first(x)
    starts, ends = options["start_indices"], options["limit_indices"]
    steps = options["strides"] or (1,) * len(starts)
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
    **dict.fromkeys(("avg_pool", "max_pool", "sum_pool"), _pool),
    "concatenate": _concatenate,
    "conv": _conv,
    "dense": _dense,
    "expand": _expand,
    "image": _image,
    "layer_norm": _layer_norm,
    **dict.fromkeys(("mean", "reduce_max", "reduce_min", "reduce_sum"), _reduce),
    "pad": _pad,
    "reshape": _reshape,
    "slice": _slice,
    "softmax": _softmax,
    "transpose": _transpose,
}
