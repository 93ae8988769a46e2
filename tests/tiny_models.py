"""ONNX models of a few numbers, made on the spot, with the specification that fits."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal, NamedTuple

from onnx import TensorProto, helper

from models.spec import FeatureSpec, InputSpec, ModelSpec, PreprocessSpec

SIDE = 4


class Tiny(NamedTuple):
    spec: ModelSpec
    file: Path


def tiny(
    folder: Path, *, batch: int | str = "n", pool: Literal["none", "max", "mean"] = "mean", dimension: int = 3
) -> Tiny:
    """A model whose inner tensor `map` is the picture [n, 3, 4, 4], its channels apart; a black one gives all zeros.

    Its output `label` has nothing to do with the vector. The specification pools `map` by `pool`.
    """
    picture = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [batch, 3, SIDE, SIDE])
    label = helper.make_tensor_value_info("label", TensorProto.INT64, None)
    nodes = [
        helper.make_node("Identity", ["picture"], ["map"]),
        helper.make_node("Flatten", ["map"], ["flat"]),
        helper.make_node("ArgMax", ["flat"], ["label"], axis=1),
    ]
    graph = helper.make_graph(nodes, "tiny", [picture], [label])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    file = folder / "tiny.onnx"
    file.write_bytes(model.SerializeToString())
    return Tiny(_spec(file, pool, dimension), file)


def _spec(file: Path, pool: Literal["none", "max", "mean"], dimension: int) -> ModelSpec:
    return ModelSpec(
        name="tiny",
        title="The channels of a picture",
        licence="Apache-2.0",
        source="a test",
        file=file.name,
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        input=InputSpec(tensor="picture", height=SIDE, width=SIDE),
        preprocess=PreprocessSpec(resize="exact"),
        feature=FeatureSpec(tensor="map", pool=pool, dimension=dimension),
    )


def changed(spec: ModelSpec, part: str, **values: Any) -> ModelSpec:
    """The specification with other values in its table `part`."""
    return spec.model_copy(update={part: getattr(spec, part).model_copy(update=values)})
