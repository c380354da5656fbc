"""Operations on each value of an array, in ONNX."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxcnn.exports.graph import Node, Unsupported
from jaxcnn.exports.onnx_writer import Writer


def _one(op: str, **attributes: Any) -> Callable[..., str]:
    return lambda writer, node, *names: writer.node(op, list(names), **attributes)


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


def _rsqrt(writer: Writer, node: Node, x: str) -> str:
    return writer.node("Reciprocal", [writer.node("Sqrt", [x])])


def _erfc(writer: Writer, node: Node, x: str) -> str:
    return writer.node("Sub", [writer.constant(np.float32(1)), writer.node("Erf", [x])])


def _expm1(writer: Writer, node: Node, x: str) -> str:
    return writer.node("Sub", [writer.node("Exp", [x]), writer.constant(np.float32(1))])


def _log1p(writer: Writer, node: Node, x: str) -> str:
    return writer.node("Log", [writer.node("Add", [x, writer.constant(np.float32(1))])])


# (writer, node, names of its inputs) -> name of its output; in the layout of the inputs.
OPERATIONS: dict[str, Callable[..., str]] = {
    "abs": _one("Abs"), "add": _one("Add"), "clip": _clip, "convert_element_type": _cast,
    "div": _one("Div"), "elu": _one("Elu"), "eq": _one("Equal"), "erf": _one("Erf"),
    "erfc": _erfc, "exp": _one("Exp"), "expm1": _expm1, "ge": _one("GreaterOrEqual"),
    "gelu": _gelu, "gt": _one("Greater"), "le": _one("LessOrEqual"), "leaky_relu": _leaky_relu,
    "log": _one("Log"), "log1p": _log1p, "logistic": _one("Sigmoid"), "lt": _one("Less"),
    "max": _one("Max"), "min": _one("Min"), "mul": _one("Mul"), "neg": _one("Neg"),
    "pow": _one("Pow"), "rsqrt": _rsqrt, "select_n": _select, "sign": _one("Sign"),
    "sqrt": _one("Sqrt"), "sub": _one("Sub"), "tanh": _one("Tanh"),
}  # fmt: skip
