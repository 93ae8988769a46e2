"""Looks into an ONNX file from anywhere: what it takes, and which of its tensors can be the vector of a picture.

`look` is to be called by models.confined: it parses what may be hostile. Nothing of the file is ever run as code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import onnx
from onnx import TensorProto
from pydantic import TypeAdapter

from models import candidates, external, graph, graph_rules
from models.candidates import Candidate, Layout, Pool, Unusable
from models.errors import InvalidSpec
from models.flow import Flow
from models.shapes import Measuring, PictureInput, with_shapes

#: Pixels of a side where the graph takes any and nobody says which.
USUAL_SIDE: Final = 224
#: Pixels of a side, at most. See InputSpec.
MAX_SIDE: Final = 4096
#: Outputs that are looked at, at most.
_OUTPUTS: Final = 32
_DTYPES: Final[Mapping[int, str]] = {
    TensorProto.UINT8: "uint8", TensorProto.FLOAT16: "float16", TensorProto.FLOAT: "float32",
}  # fmt: skip


@dataclass(frozen=True)
class Wishes:
    """What is known or wanted beforehand; what is None is found out."""

    #: Pixels.
    height: int | None = None
    #: Pixels.
    width: int | None = None
    layout: Layout | None = None
    feature: str | None = None
    pool: Pool | None = None
    custom_operators: bool = False


@dataclass(frozen=True)
class Look:
    """What was seen."""

    input: PictureInput
    #: The proposal first; never empty.
    candidates: list[Candidate]
    #: Files beside it that hold weights, relative to its folder.
    external: list[str]


LOOK: Final = TypeAdapter(Look)


def places_json(argument: dict[str, Any]) -> list[str]:
    """The files that hold weights of an ONNX file, relative to its folder; for models.confined.

    Raises InvalidSpec for a file that breaks a rule, before anything costly is done with it.
    """
    model = graph.parsed(read_graph(Path(argument["file"])))
    graph_rules.check(model, custom_operators=argument["custom_operators"])
    return external.places(model)


def look_json(argument: dict[str, Any]) -> Any:
    """`look`; for models.confined."""
    return LOOK.dump_python(look(Path(argument["file"]), Wishes(**argument["wishes"])))


def look(file: Path, wishes: Wishes) -> Look:
    """Raises InvalidSpec, with the reason, for a graph that no picture can go through or that breaks a rule."""
    data = read_graph(file)
    model = graph.parsed(data)
    graph_rules.check(model, custom_operators=wishes.custom_operators)
    places = external.places(model)
    picture = _picture_input(model.graph, wishes)
    original = {name for node in model.graph.node for name in node.output}
    outputs = [item.name for item in model.graph.output]
    measured = Measuring(data, picture, external.read(file.parent, places))
    flow = Flow(with_shapes(model, picture), picture.tensor, measured)
    usable = [name for name in outputs if name in flow.tensors][:_OUTPUTS]
    found = [item for item in _candidates(flow, usable, picture, wishes) if item.tensor in original]
    if not found:
        raise measured.failure or InvalidSpec(_why_none(flow, outputs, picture))
    return Look(picture, found, places)


def read_graph(file: Path) -> bytes:
    """The bytes of an ONNX file; raises InvalidSpec for what is none, or is too large."""
    try:
        if not file.is_file():
            raise InvalidSpec(f"{file} is no file; name an ONNX file.")
        if file.stat().st_size > external.MAX_BYTES:
            raise InvalidSpec(f"{file} has more than 2 GiB, which no ONNX file has; get another.")
        return file.read_bytes()
    except OSError as error:
        raise InvalidSpec(f"{file} cannot be read ({error.strerror}); see to it that it can.") from None


# --- the input


def _picture_input(proto: onnx.GraphProto, wishes: Wishes) -> PictureInput:
    weights = {item.name for item in proto.initializer}
    inputs = [item for item in proto.input if item.name not in weights]
    if not inputs:
        raise InvalidSpec("The model takes no input at all; get another file.")
    pictures = [item for item in inputs if not _not_a_picture(item)]
    if not pictures:
        reasons = "; ".join(f"{item.name[:60]!r} {_not_a_picture(item)}" for item in inputs[:4])
        raise InvalidSpec(f"No picture can go through the model: its input {reasons}; get a model of pictures.")
    if len(pictures) > 1:
        names = ", ".join(item.name[:60] for item in pictures[:4])
        raise InvalidSpec(f"The model takes several pictures at once ({names}); get one that takes one.")
    return _sized(pictures[0], _layout(proto, pictures[0], wishes), wishes)


def _not_a_picture(item: onnx.ValueInfoProto) -> str:
    """Why an input takes no picture; empty if it may."""
    if not item.type.HasField("tensor_type"):
        return "is no tensor"
    kind, axes = item.type.tensor_type.elem_type, _axes(item)
    if kind not in _DTYPES:
        known = (
            TensorProto.DataType.Name(kind).lower() if kind in TensorProto.DataType.values() else "something unknown"
        )
        return f"takes {known}, not pixels of uint8, float16 or float32"
    if axes is not None and len(axes) != 4:
        return f"has {len(axes)} axes, not the 4 of [batch, channels, height, width]"
    if axes is not None and 3 not in (axes[1], axes[3]) and None not in (axes[1], axes[3]):
        channels = min(axes[1] or 0, axes[3] or 0)
        return f"takes pictures of {channels} channel{'s' * (channels != 1)}, not of 3"
    return ""


def _axes(item: onnx.ValueInfoProto) -> list[int | None] | None:
    """The declared axes; None for those that are free."""
    tensor = item.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return [axis.dim_value if axis.dim_value > 0 else None for axis in tensor.shape.dim]


def _layout(proto: onnx.GraphProto, item: onnx.ValueInfoProto, wishes: Wishes) -> Layout:
    _, first, _, last = _axes(item) or [None] * 4
    told: Layout | None = None
    if first == 3 and last != 3:
        told = "NCHW"
    elif last == 3 and first != 3:
        told = "NHWC"
    if told and wishes.layout not in (None, told):
        raise InvalidSpec(f"The model takes pictures as {told}; leave out --layout.")
    return told or wishes.layout or _layout_by_use(proto, item.name)


def _layout_by_use(proto: onnx.GraphProto, tensor: str) -> Layout:
    """As the first node that moves or filters the picture takes it."""
    same = {tensor}
    for node in proto.node:
        if not same.intersection(node.input[:1]):
            continue
        if node.op_type == "Transpose":
            return "NHWC"
        if "Conv" in node.op_type:
            return "NCHW"
        same.update(node.output)
    raise InvalidSpec("The model does not say where it takes the channels of a picture; add --layout NCHW or NHWC.")


def _sized(item: onnx.ValueInfoProto, layout: Layout, wishes: Wishes) -> PictureInput:
    batch, first, second, third = _axes(item) or [None] * 4
    fixed = (second, third) if layout == "NCHW" else (first, second)
    wanted = (wishes.height, wishes.width)
    for have, want, side in zip(fixed, wanted, ("high", "wide"), strict=True):
        if have and want and have != want:
            raise InvalidSpec(f"The model takes pictures that are {have} pixels {side}, not {want}; leave out --size.")
        if (have or 0) > MAX_SIDE:
            raise InvalidSpec(f"The model takes pictures that are {have} pixels {side}; {MAX_SIDE} are the most.")
    height, width = (have or want or USUAL_SIDE for have, want in zip(fixed, wanted, strict=True))
    kind = _DTYPES[item.type.tensor_type.elem_type]
    return PictureInput(item.name, layout, kind, height, width, None not in fixed, batch)


# --- the vector


def _candidates(flow: Flow, outputs: list[str], picture: PictureInput, wishes: Wishes) -> list[Candidate]:
    if wishes.feature is None:
        return candidates.candidates(flow, outputs, picture.layout)
    if wishes.feature not in flow.tensors:
        raise InvalidSpec(f"The model makes no tensor {wishes.feature!r} of a picture alone; leave out --feature.")
    try:
        return [candidates.candidate(flow, wishes.feature, picture.layout, wishes.pool)]
    except Unusable as reason:
        raise InvalidSpec(f"The tensor {wishes.feature} {reason}; choose another by --feature.") from None


def _why_none(flow: Flow, outputs: Iterable[str], picture: PictureInput) -> str:
    for name in outputs:
        if name not in flow.tensors:
            return f"The output {name[:60]!r} needs other inputs than a picture; name an inner tensor by --feature."
        try:
            candidates.candidate(flow, name, picture.layout)
        except Unusable as reason:
            return f"The output {name[:60]!r} {reason}; name an inner tensor by --feature, or get another file."
    return "The model has no output; get another file."
