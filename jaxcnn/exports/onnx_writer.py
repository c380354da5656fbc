"""Nodes and constants of an ONNX file while it is written."""

from typing import Any

import numpy as np

from jaxcnn.exports.graph import Node, Operand

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
        given = {key: value for key, value in attributes.items() if value is not None}
        self.nodes.append(helper.make_node(op, inputs, [name], name=f"{name}_node", **given))
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
