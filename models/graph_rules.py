"""What an ONNX file from anywhere may be: checked before anything is computed with it. Raises InvalidSpec.

Nothing here opens another file, and nothing loads code.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Final

import onnx
from onnx import TensorProto

from models import external
from models.errors import InvalidSpec

#: Nodes of a graph, its loops, branches and functions together.
MAX_NODES: Final = 100_000
#: Constant tensors of the same.
MAX_TENSORS: Final = 100_000
#: Letters of a tensor's name.
MAX_NAME: Final = 500
#: Operators that are part of ONNX, or of every ONNX Runtime.
DOMAINS: Final = frozenset(("", "ai.onnx", "ai.onnx.ml", "com.microsoft"))
#: Operators of ONNX Runtime that open files or run other programs.
_REFUSED: Final = frozenset(("EPContext", "PythonOp", "ATen"))
#: Before it ONNX Runtime promises nothing.
_OLDEST_OPSET: Final = 7

_FIELDS: Final[Mapping[int, str]] = {
    TensorProto.FLOAT: "float_data", TensorProto.COMPLEX64: "float_data", TensorProto.DOUBLE: "double_data",
    TensorProto.COMPLEX128: "double_data", TensorProto.INT64: "int64_data", TensorProto.UINT32: "uint64_data",
    TensorProto.UINT64: "uint64_data",
}  # fmt: skip
_PARTS: Final[Mapping[int, int]] = {TensorProto.COMPLEX64: 2, TensorProto.COMPLEX128: 2}


def check(model: onnx.ModelProto, *, custom_operators: bool = False) -> None:
    """Raises InvalidSpec with the first rule that `model` breaks; `custom_operators` lets ONNX Runtime judge those."""
    if not model.graph.node:
        raise InvalidSpec("The file is no ONNX model, or one without any node; get another file.")
    _check_number_of_nodes(model)
    _check_versions(model)
    if not custom_operators:
        _check_operators(model)
    _check_weights(model)
    _check_order(model.graph)


def nodes(model: onnx.ModelProto) -> Iterator[onnx.NodeProto]:
    """All nodes, also of loops, branches and functions; raises InvalidSpec where these lie too deep in each other."""
    for container in (model.graph, *model.functions):
        yield from _nodes(container, 0)


def _nodes(container: onnx.GraphProto | onnx.FunctionProto, depth: int) -> Iterator[onnx.NodeProto]:
    if depth > external.MAX_DEPTH:
        raise InvalidSpec(
            f"The model has loops or branches more than {external.MAX_DEPTH} deep; export it in a simpler form."
        )
    for node in container.node:
        yield node
        for attribute in node.attribute:
            for inner in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
                yield from _nodes(inner, depth + 1)


def _check_number_of_nodes(model: onnx.ModelProto) -> None:
    for number, _ in enumerate(nodes(model), 1):
        if number > MAX_NODES:
            raise InvalidSpec(f"The model has more than {MAX_NODES:,} nodes; use a smaller one.")


def _check_versions(model: onnx.ModelProto) -> None:
    newest = onnx.defs.onnx_opset_version()
    versions = [item.version for item in model.opset_import if item.domain in ("", "ai.onnx")]
    if len(versions) != 1:
        raise InvalidSpec("The model does not say which version of ONNX's operators it needs; export it again.")
    if not _OLDEST_OPSET <= versions[0] <= newest:
        raise InvalidSpec(
            f"The model needs version {versions[0]} of ONNX's operators (opset) and {_OLDEST_OPSET} to {newest} are "
            "known here; export it for one of these."
        )


def _check_operators(model: onnx.ModelProto) -> None:
    defined = {(function.domain, function.name) for function in model.functions}
    for node in nodes(model):
        known = node.domain in DOMAINS or (node.domain, node.op_type) in defined
        if not known or (node.domain and node.op_type in _REFUSED):
            raise InvalidSpec(
                f"The model needs the operator {node.domain[:100]}:{node.op_type[:100]}, which is not part of ONNX; "
                "export it without, or allow custom operators (--allow-custom-ops) if your ONNX Runtime has it."
            )


def _check_weights(model: onnx.ModelProto) -> None:
    """Whether each tensor has as many numbers as it declares, and lies where it may."""
    for number, tensor in enumerate(_tensors(model), 1):
        if number > MAX_TENSORS:
            raise InvalidSpec(f"The model has more than {MAX_TENSORS:,} constant tensors; use a smaller one.")
        if external.is_external(tensor):
            external.place(tensor)
            external.size(tensor)
        elif tensor.data_type != TensorProto.STRING and not _holds_what_it_declares(tensor):
            raise InvalidSpec(
                f"The weights {tensor.name[:100]!r} declare {external.size(tensor):,} bytes and hold another number; "
                "the file is damaged, get it again."
            )


def _tensors(model: onnx.ModelProto) -> Iterator[TensorProto]:
    yield from external.tensors(model.graph)
    for function in model.functions:
        for node in function.node:
            yield from external.tensors_of(node)


def _holds_what_it_declares(tensor: TensorProto) -> bool:
    wanted = external.size(tensor)
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data) == wanted
    count = len(getattr(tensor, _FIELDS.get(tensor.data_type, "int32_data")))
    if tensor.data_type in (TensorProto.UINT4, TensorProto.INT4):
        return count == wanted
    return bool(count == math.prod(tensor.dims) * _PARTS.get(tensor.data_type, 1))


def _check_order(graph: onnx.GraphProto) -> None:
    """A node reads only what is there already, and writes what is not."""
    there = {_named(item.name) for item in (*graph.input, *graph.initializer)}
    there.update(item.values.name for item in graph.sparse_initializer)
    for node in graph.node:
        for name in node.input:
            if name and name not in there:
                raise InvalidSpec(
                    f"The node {(node.name or node.op_type)[:100]!r} reads {name[:100]!r}, which nothing before it "
                    "has written: the graph runs in a circle or is cut; get another file."
                )
        for name in filter(None, node.output):
            if name in there:
                raise InvalidSpec(f"The tensor {name[:100]!r} is written twice; get another file.")
            there.add(_named(name))
    missing = [item.name for item in graph.output if item.name not in there]
    if missing:
        raise InvalidSpec(f"Nothing writes the output {missing[0][:100]!r}; get another file.")


def _named(name: str) -> str:
    """The same name, which ends up in tables and specifications."""
    if len(name) > MAX_NAME:
        raise InvalidSpec(f"The model has a tensor whose name has {len(name):,} letters; {MAX_NAME} are the most.")
    return name
