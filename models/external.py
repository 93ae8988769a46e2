"""Weights that lie in files beside an ONNX file: which files, and how their numbers come into the graph.

ONNX Runtime is never asked to open such a file: what was checked is what is used, and a graph cannot reach out of its
folder. Format: onnx.proto, TensorProto.external_data; the ONNX documentation, External Data.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import onnx
from onnx import TensorProto

from models.errors import InvalidSpec
from models.spec import EXTERNAL_NAME

#: Loops and branches inside each other.
MAX_DEPTH: Final = 8
#: Files that hold weights of one model. See ModelSpec.
MAX_FILES: Final = 4096
#: Bytes of a graph with all its weights; protobuf writes no more.
MAX_BYTES: Final = 2**31 - 1

_BITS: Final[Mapping[int, int]] = {
    TensorProto.FLOAT: 32, TensorProto.UINT8: 8, TensorProto.INT8: 8, TensorProto.UINT16: 16, TensorProto.INT16: 16,
    TensorProto.INT32: 32, TensorProto.INT64: 64, TensorProto.BOOL: 8, TensorProto.FLOAT16: 16,
    TensorProto.DOUBLE: 64, TensorProto.UINT32: 32, TensorProto.UINT64: 64, TensorProto.COMPLEX64: 64,
    TensorProto.COMPLEX128: 128, TensorProto.BFLOAT16: 16, TensorProto.FLOAT8E4M3FN: 8,
    TensorProto.FLOAT8E4M3FNUZ: 8, TensorProto.FLOAT8E5M2: 8, TensorProto.FLOAT8E5M2FNUZ: 8, TensorProto.UINT4: 4,
    TensorProto.INT4: 4,
}  # fmt: skip


def tensors(graph: onnx.GraphProto, depth: int = 0) -> Iterator[TensorProto]:
    """All constant tensors of a graph, also of its loops and branches; raises InvalidSpec below `MAX_DEPTH`."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for node in graph.node:
        yield from tensors_of(node, depth)


def tensors_of(node: onnx.NodeProto, depth: int = 0) -> Iterator[TensorProto]:
    """The same for one node."""
    if depth > MAX_DEPTH:
        raise InvalidSpec(f"The model has loops or branches more than {MAX_DEPTH} deep; export it in a simpler form.")
    for attribute in node.attribute:
        if attribute.HasField("t"):
            yield attribute.t
        yield from attribute.tensors
        for sparse in (*((attribute.sparse_tensor,) if attribute.HasField("sparse_tensor") else ()),
                       *attribute.sparse_tensors):  # fmt: skip
            yield from (sparse.values, sparse.indices)
        for inner in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
            yield from tensors(inner, depth + 1)


def places(model: onnx.ModelProto) -> list[str]:
    """The files that hold weights of `model`, each once; raises InvalidSpec for one out of its folder."""
    functions = (tensor for function in model.functions for node in function.node for tensor in tensors_of(node))
    outside = filter(is_external, (*tensors(model.graph), *functions))
    found = list(dict.fromkeys(place(tensor) for tensor in outside))
    if len(found) > MAX_FILES:
        raise InvalidSpec(f"The model has weights in {len(found):,} files, {MAX_FILES:,} are the most; merge them.")
    return found


def read(folder: Path, names: Iterable[str]) -> Mapping[str, bytes]:
    """The bytes of the files `names`; raises InvalidSpec where one is missing or leads out of `folder`."""
    return {name: inside(folder, name).read_bytes() for name in names}


def inside(folder: Path, name: str) -> Path:
    """The file `name` of `folder`; raises InvalidSpec if it is missing, or a link that leads out of `folder`."""
    file = folder / name
    if not file.resolve().is_relative_to(folder.resolve()):
        raise InvalidSpec(f"{file} is a link that leads out of its folder; put the file itself there.")
    if not file.is_file():
        raise InvalidSpec(f"The model has weights in {file}, and there is no such file; put it there.")
    return file


def is_external(tensor: TensorProto) -> bool:
    """Whether its numbers lie in another file."""
    return tensor.data_location == TensorProto.EXTERNAL


def place(tensor: TensorProto) -> str:
    """The file of an external tensor, relative to the ONNX file; raises InvalidSpec for one out of its folder."""
    location = _entries(tensor).get("location", "")
    if not re.fullmatch(EXTERNAL_NAME, location) or len(location) > 256:
        raise InvalidSpec(
            f"The model wants weights from {location[:200]!r}, which is not below its own folder; "
            "use a file whose weights lie beside it."
        )
    return location


def size(tensor: TensorProto) -> int:
    """Bytes of the numbers that a tensor declares; raises InvalidSpec if that cannot be."""
    if tensor.data_type not in _BITS or any(axis < 0 for axis in tensor.dims):
        raise InvalidSpec(
            f"The weights {tensor.name[:100]!r} are of a type or size that is not known here; get another file."
        )
    bits: int = math.prod(tensor.dims) * _BITS[tensor.data_type]
    return -(-bits // 8)


def put_in(graph: onnx.GraphProto, files: Mapping[str, bytes]) -> None:
    """Give the external tensors of `graph` their numbers; raises InvalidSpec where `files` do not hold them."""
    outside = [tensor for tensor in tensors(graph) if is_external(tensor)]
    if sum(map(size, outside)) > MAX_BYTES:
        raise InvalidSpec("The model has more than 2 GiB of weights, which is too large; use a smaller one.")
    for tensor in outside:
        tensor.raw_data = _numbers(tensor, files)
        tensor.data_location = TensorProto.DEFAULT
        del tensor.external_data[:]


def span(tensor: TensorProto, available: int) -> tuple[int, int]:
    """Where the numbers of an external tensor begin and end in its file of `available` bytes; raises InvalidSpec."""
    entries, wanted = _entries(tensor), size(tensor)
    try:
        begin = int(entries.get("offset", "0"))
        length = int(entries.get("length", str(available - begin)))
    except ValueError:
        begin, length = -1, 0
    if begin < 0 or length != wanted or begin + length > available:
        raise InvalidSpec(
            f"The weights {tensor.name[:100]!r} should be {wanted:,} bytes of {place(tensor)}, which does not hold "
            "them there; get both files again."
        )
    return begin, begin + length


def _numbers(tensor: TensorProto, files: Mapping[str, bytes]) -> bytes:
    name = place(tensor)
    if name not in files:
        raise InvalidSpec(f"The model has weights in {name}, which its specification does not name; add it again.")
    begin, end = span(tensor, len(files[name]))
    return files[name][begin:end]


def _entries(tensor: TensorProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in tensor.external_data}
