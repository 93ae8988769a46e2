"""The shapes of the tensors of a graph: told by its operators, or found out by running it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, inliner

from models import external, graph
from models.candidates import Layout
from models.errors import ModelError
from models.flow import Known

#: Bytes of a constant that stays while shapes are worked out; shapes and axes are smaller.
_SMALL: Final = 1024
#: Tensors whose shape is found out by running the graph, at most.
_MEASURED: Final = 12


@dataclass(frozen=True)
class PictureInput:
    """The tensor that takes pictures."""

    tensor: str
    layout: Layout
    dtype: str
    #: Pixels.
    height: int
    #: Pixels.
    width: int
    #: Whether the graph itself says so.
    fixed_size: bool
    #: Pictures in a batch, if the graph takes no other number.
    batch: int | None


def with_shapes(model: onnx.ModelProto, picture: PictureInput) -> onnx.GraphProto:
    """The graph with what can be told of its shapes for this input. Empties the weights of `model`.

    What the file itself says of shapes inside is not believed.
    """
    for tensor in external.tensors(model.graph):
        if not external.is_external(tensor) and tensor.ByteSize() > _SMALL:
            _empty(tensor)
    _pin(model.graph, picture)
    if model.functions:
        model = inliner.inline_local_functions(model)
    try:
        return onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    except Exception:  # what one version or another raises where shapes contradict each other: they are measured then
        return model.graph


def _empty(tensor: TensorProto) -> None:
    kept = (tensor.name, tensor.data_type, list(tensor.dims))
    tensor.Clear()
    tensor.name, tensor.data_type = kept[:2]
    tensor.dims.extend(kept[2])
    tensor.data_location = TensorProto.EXTERNAL


def _pin(proto: onnx.GraphProto, picture: PictureInput) -> None:
    """Say the size of the picture, and forget what is said of all shapes behind it."""
    sides = [3, picture.height, picture.width] if picture.layout == "NCHW" else [picture.height, picture.width, 3]
    for item in proto.input:
        if item.name == picture.tensor:
            kind = item.type.tensor_type.elem_type
            item.CopyFrom(onnx.helper.make_tensor_value_info(item.name, kind, [picture.batch or "N", *sides]))
    del proto.value_info[:]
    for item in proto.output:
        item.type.tensor_type.ClearField("shape")


class Measuring:
    """Finds out the shape of a tensor by running the graph up to it on a black picture."""

    def __init__(self, data: bytes, picture: PictureInput, files: Mapping[str, bytes]) -> None:
        self._data, self._picture, self._files = data, picture, files
        self._left = _MEASURED
        #: Why the graph could not be run, if it could not.
        self.failure: ModelError | None = None

    def __call__(self, tensor: str) -> Known | None:
        if self._left == 0:
            return None
        self._left -= 1
        try:
            array = self._run(tensor)
        except ModelError as error:
            self.failure = error
            return None
        return Known((None, *array.shape[1:]), onnx.helper.np_dtype_to_tensor_dtype(array.dtype))

    def _run(self, tensor: str) -> Any:
        from models.encoder import CPU, open_session, run

        picture = self._picture
        sides = (3, picture.height, picture.width) if picture.layout == "NCHW" else (picture.height, picture.width, 3)
        session = open_session(graph.cut_at(self._data, tensor, self._files), [CPU], threads=1)
        black = np.zeros((picture.batch or 1, *sides), picture.dtype)
        return run(session, tensor, {picture.tensor: black}, "that is being looked into")
