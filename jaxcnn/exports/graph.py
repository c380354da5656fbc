"""An inference function as a small graph of operations, which the writers of formats walk.

`jax.make_jaxpr` traces the function; what depends on no image is computed here and now, so that
only the way from pixels to probabilities is left. `jaxcnn.exports.simplify` makes it shorter.

Why no converter of others: with a dynamic batch jax2onnx 0.17.1 writes a `cnn` that onnxruntime
does not run and no `resnet20_cifar` at all, and it takes orbax-checkpoint < 0.11.37. A CNN's
inference is some forty primitives, and Keras is written from the same graph.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np

# The batch while tracing: a number no other size of a model is likely to be, so that what is not
# [batch, ...] is noticed.
BATCH = 61


class Unsupported(Exception):
    """A format has no way to say what a model does; the message names the operation."""


@dataclass(eq=False)
class Node:
    """An operation and its result, of shape [BATCH, ...] and layout [B, H, W, C] where it has four
    axes. Operands that are arrays are constants which broadcast as in NumPy.

    op: the name of JAX's primitive, or "image", "conv", "dense", "reshape", "expand", and what
      `jaxcnn.exports.simplify` puts in the place of several.
    """

    op: str
    inputs: list[Any]
    shape: tuple[int, ...]
    dtype: np.dtype
    attributes: dict[str, Any] = field(default_factory=dict)


Operand = Any  # a Node, or an array that is a constant


def trace(function: Callable[[jax.Array], jax.Array], image_shape: tuple[int, ...]) -> Node:
    """The last node of a function of uint8[B, H, W, C]; raises Unsupported.

    The function must treat images independently, and give an array of B rows.
    """
    image = jax.ShapeDtypeStruct((BATCH, *image_shape), jnp.uint8)
    closed = jax.make_jaxpr(function)(image)
    first = Node("image", [], image.shape, np.dtype(np.uint8))
    (last,) = _run(closed.jaxpr, closed.consts, [first])
    if not isinstance(last, Node):
        raise Unsupported("an answer that depends on no image")
    return _whole(last, closed.jaxpr.outvars[0].aval.shape)


def walk(last: Node) -> list[Node]:
    """All nodes the last one needs, each after those it needs itself."""
    done: dict[int, Node] = {}
    waiting: list[tuple[Node, Iterator[Operand]]] = [(last, iter(last.inputs))]
    while waiting:
        node, inputs = waiting[-1]
        following = next((x for x in inputs if isinstance(x, Node) and id(x) not in done), None)
        if following is None:
            done[id(node)] = node
            waiting.pop()
        else:
            waiting.append((following, iter(following.inputs)))
    return list(done.values())


def _run(jaxpr: Any, consts: list[Any], arguments: list[Operand]) -> list[Operand]:
    """What a jaxpr gives for nodes and constants."""
    known: dict[Any, Operand] = dict(zip(jaxpr.constvars, consts, strict=True))
    known |= zip(jaxpr.invars, arguments, strict=True)

    def read(variable: Any) -> Operand:
        return variable.val if isinstance(variable, jex.Literal) else known[variable]

    for equation in jaxpr.eqns:
        operands = [read(variable) for variable in equation.invars]
        known |= zip(equation.outvars, _step(equation, operands), strict=True)
    return [read(variable) for variable in jaxpr.outvars]


def _step(equation: Any, operands: list[Operand]) -> list[Operand]:
    """The results of one equation."""
    name = equation.primitive.name
    inner = equation.params.get("jaxpr") or equation.params.get("call_jaxpr")
    if inner is not None and name != "scan":  # jit, custom_jvp_call, remat, ...
        if isinstance(inner, jex.ClosedJaxpr):
            return _run(inner.jaxpr, inner.consts, operands)
        return _run(inner, [], operands)
    shapes = [variable.aval.shape for variable in equation.invars]
    if not any(isinstance(operand, Node) for operand in operands):
        return _computed(equation, operands, shapes)
    rule = RULES.get(name)
    if rule is None:
        raise Unsupported(f"the operation {name}")
    if name not in ELEMENTWISE and name != "broadcast_in_dim":
        operands = [_whole(one, shape) for one, shape in zip(operands, shapes, strict=True)]
    made = rule(equation, operands)
    results = made if isinstance(made, list) else [made]
    for result in results:
        if not result.shape or result.shape[0] != BATCH:
            raise Unsupported(f"{name} across the images of a batch")
    return results


def _computed(equation: Any, operands: list[Operand], shapes: list[Any]) -> list[Operand]:
    """Results that depend on no image."""
    if equation.primitive.name == "broadcast_in_dim" and len(operands) == 1:
        return [_spread(equation, operands[0])]
    arrays = [jnp.broadcast_to(x, shape) for x, shape in zip(operands, shapes, strict=True)]
    made = equation.primitive.bind(*arrays, **equation.params)
    return list(made) if equation.primitive.multiple_results else [made]


def _whole(operand: Operand, shape: tuple[int, ...]) -> Operand:
    """An operand that only would broadcast to a shape, of that shape."""
    if operand.shape == tuple(shape):
        return operand
    if isinstance(operand, Node):
        return Node("expand", [operand], tuple(shape), operand.dtype)
    return jnp.broadcast_to(operand, shape)


def _spread(equation: Any, operand: Operand) -> Operand:
    """broadcast_in_dim: axes are put in place; their sizes wait for the operation that needs them,
    as most broadcast by themselves.
    """
    shape, dimensions = equation.params["shape"], equation.params["broadcast_dimensions"]
    sizes = dict(zip(dimensions, operand.shape, strict=True))
    placed = tuple(sizes.get(axis, 1) for axis in range(len(shape)))
    if not isinstance(operand, Node):
        return jnp.reshape(operand, placed)
    return operand if placed == operand.shape else _reshape_to(operand, placed)


def _reshape_to(x: Node, shape: tuple[int, ...]) -> Node:
    return Node("reshape", [x], tuple(shape), x.dtype)


def _compact(constant: Any, rank: int) -> np.ndarray:
    """A constant of an elementwise operation, with 1 for every axis along which it is constant."""
    array = np.asarray(constant)
    array = array.reshape((1,) * (rank - array.ndim) + array.shape) if array.ndim else array
    for axis, size in enumerate(array.shape):
        first = array.take([0], axis)
        if size > 1 and (array == first).all():
            array = first
    if array.ndim and array.shape[0] != 1:
        raise Unsupported("a constant that differs between the images of a batch")
    return array


def _elementwise(equation: Any, operands: list[Operand]) -> Node:
    (result,) = equation.outvars
    rank = len(result.aval.shape)
    inputs = [x if isinstance(x, Node) else _compact(x, rank) for x in operands]
    shape = np.broadcast_shapes(*(x.shape for x in inputs))
    attributes = {key: equation.params[key] for key in ("y",) if key in equation.params}
    return Node(equation.primitive.name, inputs, shape, np.dtype(result.aval.dtype), attributes)


def _power(x: Node, power: int) -> Node:
    if power < 1:
        raise Unsupported(f"integer_pow with the exponent {power}")
    product = x
    for _ in range(power - 1):
        product = Node("mul", [product, x], x.shape, x.dtype)
    return product


def _conv(equation: Any, operands: list[Operand]) -> Node:
    x, kernel = operands
    params, (result,) = equation.params, equation.outvars
    numbers = params["dimension_numbers"]
    plain = (numbers.lhs_spec, numbers.out_spec) == ((0, 3, 1, 2),) * 2
    if isinstance(kernel, Node) or not plain or set(params["lhs_dilation"]) != {1}:
        raise Unsupported("a convolution that is transposed, or not of [B, H, W, C] by a constant")
    if params["batch_group_count"] != 1:
        raise Unsupported("a convolution with groups of images")
    out, into, *space = numbers.rhs_spec
    attributes = {
        "kernel": np.asarray(kernel).transpose(*space, into, out),  # HWIO
        "bias": None,
        "strides": tuple(params["window_strides"]),
        "padding": tuple(map(tuple, params["padding"])),
        "dilation": tuple(params["rhs_dilation"]),
        "groups": params["feature_group_count"],
    }
    return Node("conv", [x], result.aval.shape, x.dtype, attributes)


def _dense(equation: Any, operands: list[Operand]) -> Node:
    x, kernel = operands
    (left, right), (left_batch, _) = equation.params["dimension_numbers"]
    plain = isinstance(x, Node) and len(left) == 1 and left[0] != 0 and not left_batch
    if isinstance(kernel, Node) or not plain or kernel.ndim != 2:
        raise Unsupported("a product that is not of one axis by a constant matrix")
    order = (*(axis for axis in range(len(x.shape)) if axis != left[0]), left[0])
    if order != tuple(range(len(x.shape))):
        shape = tuple(x.shape[axis] for axis in order)
        x = Node("transpose", [x], shape, x.dtype, {"permutation": order})
    kernel = np.asarray(kernel)
    attributes = {"kernel": kernel if right[0] == 0 else kernel.T, "bias": None}  # [I, O]
    return Node("dense", [x], equation.outvars[0].aval.shape, x.dtype, attributes)


def _pool(equation: Any, operands: list[Operand]) -> Node:
    (x,), params = operands, equation.params
    window, strides = params["window_dimensions"], params["window_strides"]
    dilated = {*params["base_dilation"], *params["window_dilation"]} != {1}
    if len(window) != 4 or (window[0], window[3]) != (1, 1) or dilated:
        raise Unsupported("pooling that is not over height and width")
    attributes = {
        "window": tuple(window[1:3]),
        "strides": tuple(strides[1:3]),
        "padding": tuple(map(tuple, params["padding"][1:3])),
    }
    op = {"reduce_window_max": "max_pool", "reduce_window_sum": "sum_pool"}
    shape = equation.outvars[0].aval.shape
    return Node(op[equation.primitive.name], [x], shape, x.dtype, attributes)


def _keeping(*names: str) -> Callable[[Any, list[Operand]], Node]:
    """A rule whose node has some of the equation's parameters."""

    def rule(equation: Any, operands: list[Operand]) -> Node:
        (result,) = equation.outvars
        attributes = {name: equation.params[name] for name in names}
        op, dtype = equation.primitive.name, np.dtype(result.aval.dtype)
        return Node(op, operands, result.aval.shape, dtype, attributes)

    return rule


def _clamp(equation: Any, operands: list[Operand]) -> Node:
    low, x, high = operands
    raised = Node("max", [x, np.asarray(low)], x.shape, x.dtype)
    return Node("min", [raised, np.asarray(high)], x.shape, x.dtype)


_ARITHMETIC = ("add", "sub", "mul", "div", "max", "min", "pow")
_COMPARISONS = ("eq", "lt", "le", "gt", "ge", "select_n")
_FUNCTIONS = ("abs", "erf", "erfc", "exp", "expm1", "log", "log1p", "logistic", "neg", "rsqrt",
              "sign", "sqrt", "tanh", "convert_element_type")  # fmt: skip
ELEMENTWISE = frozenset({*_ARITHMETIC, *_COMPARISONS, *_FUNCTIONS, "copy", "copy_p"})

RULES: dict[str, Callable[[Any, list[Operand]], Any]] = {
    **dict.fromkeys((*_ARITHMETIC, *_COMPARISONS, *_FUNCTIONS), _elementwise),
    **dict.fromkeys(("copy", "copy_p", "stop_gradient"), lambda equation, operands: operands[0]),
    **dict.fromkeys(("reduce_max", "reduce_min", "reduce_sum"), _keeping("axes")),
    **dict.fromkeys(
        ("reshape", "squeeze"),
        lambda equation, operands: _reshape_to(operands[0], equation.outvars[0].aval.shape),
    ),
    "broadcast_in_dim": lambda equation, operands: _spread(equation, operands[0]),
    "clamp": _clamp,
    "concatenate": _keeping("dimension"),
    "conv_general_dilated": _conv,
    "dot_general": _dense,
    "integer_pow": lambda equation, operands: _power(operands[0], equation.params["y"]),
    "pad": _keeping("padding_config"),
    "reduce_window_max": _pool,
    "reduce_window_sum": _pool,
    "slice": _keeping("start_indices", "limit_indices", "strides"),
    "square": lambda equation, operands: _power(operands[0], 2),
    "transpose": _keeping("permutation"),
}
