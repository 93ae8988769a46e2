"""Cuts an ONNX graph down to what leads to one tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

from models import external
from models.errors import InvalidSpec

#: Begins the name of a tensor that is given by the operator of its node: "last MaxPool".
LAST: Final = "last "
#: Operators whose results are vectors of pictures, or nearly, and those that read such vectors to classify them.
_POOLS: Final = ("GlobalAveragePool", "GlobalMaxPool", "AveragePool", "MaxPool", "ReduceMean")
_CLASSIFIERS: Final = ("Gemm", "MatMul")
#: Operators that models of 8-bit integers have, and no others.
_INTEGERS: Final = frozenset(
    ("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger")
)
#: Tensors that a sentence proposes, at most.
_PROPOSED: Final = 4


def parsed(model: bytes) -> onnx.ModelProto:
    """Raises InvalidSpec if the bytes are no ONNX model."""
    try:
        return onnx.load_model_from_string(model)
    except DecodeError:
        raise InvalidSpec("The file is no ONNX model; get it again.") from None


def is_quantised(model: bytes) -> bool:
    """Whether anything in it is computed with 8-bit integers; raises InvalidSpec."""
    return any(node.op_type in _INTEGERS for node in parsed(model).graph.node)


def cut_at(model: bytes, tensor: str, files: Mapping[str, bytes] = MappingProxyType({})) -> bytes:
    """The same model with `tensor`, inner or not, as its only output and without the nodes and inputs behind it.

    "last MaxPool" is what the last node of that operator gives, for files whose names are not known.

    `files` are the bytes of the files that hold weights of it, by the names that the model has for them; the result
    holds what it needs of them itself. Raises InvalidSpec if the bytes are no ONNX model or hold no such tensor.
    """
    proto = parsed(model)
    graph = proto.graph
    if tensor.startswith(LAST):
        _name_last(graph, tensor)
    needed = list(_nodes_before(graph, tensor))
    wanted = {name for node in needed for name in _reads(node)} | {tensor}
    keep = [item for item in graph.initializer if item.name in wanted]
    # Files of old versions list all weights among the inputs; one without its weights would be a true input.
    inputs = [item for item in graph.input if item.name in wanted]
    output = _output(graph, tensor)
    del graph.node[:], graph.input[:], graph.output[:], graph.initializer[:]
    graph.node.extend(needed)
    graph.input.extend(inputs)
    graph.output.append(output)
    graph.initializer.extend(keep)
    external.put_in(graph, files)
    return bytes(proto.SerializeToString())


def _output(graph: onnx.GraphProto, tensor: str) -> onnx.ValueInfoProto:
    """The declaration of `tensor`; for an inner tensor one without a type, which the session infers."""
    declared = [item for item in graph.output if item.name == tensor]
    return declared[0] if declared else onnx.helper.make_empty_tensor_value_info(tensor)


def _nodes_before(graph: onnx.GraphProto, tensor: str) -> Iterator[onnx.NodeProto]:
    """The nodes that `tensor` depends on, in the order of the graph (which is topological)."""
    wanted = {tensor}
    found: list[onnx.NodeProto] = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output):
            found.append(node)
            wanted.update(_reads(node))
    if not found:
        raise InvalidSpec(
            f"The model has no tensor {tensor!r}; correct feature.tensor in its specification{_proposal(graph)}."
        )
    return reversed(found)


def _name_last(graph: onnx.GraphProto, tensor: str) -> None:
    """Let `tensor` be another name of what it stands for."""
    results = [node.output[0] for node in graph.node if node.op_type == tensor.removeprefix(LAST)]
    if results:
        graph.node.append(onnx.helper.make_node("Identity", results[-1:], [tensor]))


def _proposal(graph: onnx.GraphProto) -> str:
    """The likeliest feature tensors, the last first."""
    weights = {item.name for item in graph.initializer}
    found: list[str] = []
    for node in reversed(graph.node):
        if node.op_type in _POOLS:
            found += node.output[:1]
        elif node.op_type in _CLASSIFIERS:
            found += [name for name in node.input[:1] if name not in weights]
    names = list(dict.fromkeys(found))[:_PROPOSED]
    return f", perhaps to {' or '.join(names)}" if names else ""


def _reads(node: onnx.NodeProto) -> Iterator[str]:
    """Names that a node reads, also from within its loops and branches."""
    yield from node.input
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            for inner in graph.node:
                yield from _reads(inner)
            yield from (item.name for item in graph.output)
