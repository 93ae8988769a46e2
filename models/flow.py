"""The way of a picture through an ONNX graph: which tensor comes from which, and in what shape."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import onnx
from onnx import TensorProto

#: Axes of a tensor, the batch first; what is not known is None.
Shape = tuple[int | None, ...]

_FLOATS: Final = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
#: Their results depend on the size of a picture, not on what it shows.
_SIZES: Final = frozenset(("Shape", "Size"))
#: What they read after the first input says how, not what.
_FIRST_ONLY: Final = frozenset(
    (
        "Reshape", "Expand", "Slice", "Gather", "Squeeze", "Unsqueeze", "Resize", "Tile", "Pad", "QuantizeLinear",
        "DequantizeLinear", "Clip", "Dropout", "Flatten", "ReduceMean",
    )
)  # fmt: skip


class Known(NamedTuple):
    """Of one tensor."""

    shape: Shape
    #: Of TensorProto.
    type: int


class Flow:
    """A graph seen from its picture input."""

    def __init__(self, graph: onnx.GraphProto, picture: str, measure: Callable[[str], Known | None]) -> None:
        """`measure` is asked for the tensors that the graph itself does not tell the shape of."""
        self._measure = measure
        self._known = {item.name: known for item in _declared(graph) if (known := _of(item)) is not None}
        self._producers = {name: node for node in graph.node for name in node.output if name}
        weights = {item.name for item in graph.initializer}
        self._seen = _reached(graph, {picture})
        self._tainted = _reached(graph, {item.name for item in graph.input} - weights - {picture})
        self._constant = self._constants(graph, weights)

    @property
    def tensors(self) -> frozenset[str]:
        """Those that depend on the picture and on no other input."""
        return frozenset(self._seen - self._tainted)

    def is_constant(self, tensor: str) -> bool:
        """Whether it is the same for all pictures: weights, or made of them alone."""
        return tensor in self._constant

    def producer(self, tensor: str) -> onnx.NodeProto | None:
        return self._producers.get(tensor)

    def source(self, node: onnx.NodeProto) -> str | None:
        """The one input that comes from the picture, if it is one."""
        inputs = node.input[:1] if node.op_type in _FIRST_ONLY else node.input
        found = [name for name in inputs if name in self._seen]
        return found[0] if len(found) == 1 else None

    def shape(self, tensor: str) -> Shape | None:
        known = self._of(tensor)
        return known.shape if known else None

    def is_float(self, tensor: str) -> bool:
        known = self._of(tensor)
        return known is not None and known.type in _FLOATS

    def _of(self, tensor: str) -> Known | None:
        known = self._known.get(tensor)
        if known is None or None in known.shape[1:]:
            measured = self._measure(tensor) if tensor in self.tensors else None
            if measured is not None:
                self._known[tensor] = known = measured
        return known

    def _constants(self, graph: onnx.GraphProto, weights: set[str]) -> frozenset[str]:
        constant = set(weights)
        for node in graph.node:
            if all(name in constant for name in node.input if name):
                constant.update(node.output)
        return frozenset(constant - self._seen - self._tainted)


def _declared(graph: onnx.GraphProto) -> list[onnx.ValueInfoProto]:
    return [*graph.value_info, *graph.input, *graph.output]


def _of(item: onnx.ValueInfoProto) -> Known | None:
    tensor = item.type.tensor_type
    if not tensor.elem_type or not tensor.HasField("shape"):
        return None
    return Known(tuple(axis.dim_value if axis.dim_value > 0 else None for axis in tensor.shape.dim), tensor.elem_type)


def _reached(graph: onnx.GraphProto, inputs: set[str]) -> set[str]:
    """All that depends on what `inputs` hold. A loop or branch counts as reading whatever its nodes read."""
    reached = set(inputs)
    for node in graph.node:
        if node.op_type not in _SIZES and any(name in reached for name in _reads(node)):
            reached.update(name for name in node.output if name)
    return reached


def _reads(node: onnx.NodeProto) -> list[str]:
    inner = [
        inner for attribute in node.attribute for graph in (attribute.g, *attribute.graphs) for inner in graph.node
    ]
    return [*node.input, *(name for other in inner for name in _reads(other))]
