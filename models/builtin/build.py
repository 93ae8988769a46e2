"""Builds the two models that ship with imagefleet: known image descriptors, written as ONNX graphs; nothing is learned.

    python -m models.builtin.build [FOLDER]

The files come out the same byte for byte. Constants are rounded, so that the last bit of a cosine does not matter.
The encoder brings the vectors to unit length.

Sources of the ideas
- histogram of colours as a key to a picture: Swain and Ballard, Color indexing, IJCV 1991
- opponent colours divided by brightness, so that light matters less: van de Sande et al., Evaluating color descriptors
  for object and scene recognition, PAMI 2010
- every pixel shared among several bins: van Gemert et al., Visual word ambiguity, PAMI 2010
- oriented gradients in cells, normalised by the energy around them: Dalal and Triggs, Histograms of oriented gradients
  for human detection, CVPR 2005; as a coarse layout of the whole picture: Oliva and Torralba, Modeling the shape of the
  scene, IJCV 2001
- powers below one: Perronnin et al., Improving the Fisher kernel, ECCV 2010; square root: Arandjelovic and Zisserman,
  Three things everyone should know to improve object retrieval, CVPR 2012
- taking away a share of the mean, so that the absence of something counts: Jegou and Chum, Negative evidences and
  co-occurrences in image retrieval, ECCV 2012
"""

from __future__ import annotations

import hashlib
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from onnx import TensorProto, helper

from models.spec import BUILTIN

#: Pixels; both sides of what either model looks at.
SIDE: Final = 64
#: Decimals of every constant.
DECIMALS: Final = 6
OPSET: Final = 17
IR_VERSION: Final = 8

#: Colour: greys, then rings of hues as (hues, brightness, saturation, turn in steps); 112 in all.
GREYS: Final = (0.1, 0.4, 0.7, 1.0)
RINGS: Final = (
    (12, 0.30, 0.40, 0.0),
    (12, 0.60, 0.20, 0.0),
    (12, 0.85, 0.30, 0.0),
    (18, 0.30, 0.80, 0.0),
    (18, 0.50, 0.60, 0.5),
    (18, 0.70, 0.90, 0.0),
    (18, 0.95, 0.70, 0.5),
)
#: How much brightness counts beside hue and saturation.
BRIGHTNESS: Final = 0.4
#: Squared distance over which a pixel is shared among the colours near it.
SOFTNESS: Final = 0.006
#: Part of the side; standard deviation of the window around the centre.
WINDOW: Final = 0.2
#: Weight of the whole picture beside the window.
WHOLE: Final = 0.5
COLOUR_POWER: Final = 0.4

#: Gradient: cells per side, orientations, and the side of the block of cells that a cell is normalised by.
CELLS: Final = 7
ORIENTATIONS: Final = 6
BLOCK: Final = 5
#: Energy below which a block counts as flat.
FLAT: Final = 0.02
#: Part of the mean over all cells, and over the orientations of a cell, that is taken away.
CELL_MEAN: Final = 0.7
ORIENTATION_MEAN: Final = 0.5
#: Weight of the layout of brightness beside that of gradients.
LUMINANCE: Final = 0.3
#: Last component, the same for all: an empty picture has a vector too.
FLOOR: Final = 0.05


class Graph:
    """Nodes and constants in the order in which they are asked for; names are numbered."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: list[onnx.TensorProto] = []

    def constant(self, values: Any, integers: bool = False) -> str:
        """Name of a constant of rounded float32, or of int64."""
        name = f"constant{len(self._constants)}"
        array = np.asarray(values, np.int64) if integers else np.round(np.asarray(values, np.float64), DECIMALS)
        kind = TensorProto.INT64 if integers else TensorProto.FLOAT
        self._constants.append(helper.make_tensor(name, kind, array.shape, array.ravel().tolist()))
        return name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append a node and give the name of its output."""
        name = output or f"{operator.lower()}{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, inputs, [name], name=name, **attributes))
        return name

    def scaled(self, tensor: str, factor: float) -> str:
        return self.add("Mul", tensor, self.constant(factor))

    def plus(self, tensor: str, summand: float) -> str:
        return self.add("Add", tensor, self.constant(summand))

    def sum(self, tensor: str, axis: int) -> str:
        return self.add("ReduceSum", tensor, self.constant([axis], integers=True), keepdims=1)

    def cut(self, tensor: str, axis: int, start: int, stop: int) -> str:
        return self.add("Slice", tensor, *(self.constant([n], integers=True) for n in (start, stop, axis)))

    def serialised(self, name: str, dimension: int) -> bytes:
        """The model `pixels` [n, SIDE, SIDE, 3] of 8 bits -> `vector` [n, dimension]."""
        pixels = helper.make_tensor_value_info("pixels", TensorProto.UINT8, ["n", SIDE, SIDE, 3])
        vector = helper.make_tensor_value_info("vector", TensorProto.FLOAT, ["n", dimension])
        model = helper.make_model(
            helper.make_graph(self._nodes, name, [pixels], [vector], self._constants),
            producer_name="imagefleet",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))


# --- colour


def colour() -> bytes:
    """Soft histogram of colours in a window around the centre and in the whole picture, 224 numbers."""
    graph = Graph()
    flat = graph.add("Reshape", _from_zero_to_one(graph), graph.constant([0, -1, 3], integers=True))
    brightness = graph.add("ReduceMax", flat, axes=[-1], keepdims=1)
    opponents = graph.add("MatMul", flat, graph.constant([[1, 0], [-0.5, math.sqrt(0.75)], [-0.5, -math.sqrt(0.75)]]))
    point = graph.add(
        "Concat",
        graph.scaled(brightness, BRIGHTNESS),
        graph.add("Div", opponents, graph.plus(brightness, 0.05)),
        axis=-1,
    )
    near = graph.add("Softmax", _closeness(graph, point), axis=-1)
    histograms = graph.add("MatMul", graph.constant(_windows()), near)
    powers = graph.add("Pow", histograms, graph.constant(COLOUR_POWER))
    weighted = graph.add("Mul", powers, graph.constant([[1], [WHOLE]]))
    graph.add("Flatten", weighted, output="vector")
    return graph.serialised("colour", 2 * len(list(_colours())))


def _closeness(graph: Graph, point: str) -> str:
    """Minus the squared distance to each colour, over SOFTNESS; without the term that is the same for all colours."""
    colours = list(_colours())
    directions = [[2 * colour[axis] / SOFTNESS for colour in colours] for axis in range(3)]
    lengths = [-sum(part**2 for part in colour) / SOFTNESS for colour in colours]
    return graph.add("Add", graph.add("MatMul", point, graph.constant(directions)), graph.constant(lengths))


def _colours() -> Iterator[tuple[float, float, float]]:
    for grey in GREYS:
        yield BRIGHTNESS * grey, 0.0, 0.0
    for hues, brightness, saturation, turn in RINGS:
        for step in range(hues):
            angle = 2 * math.pi * (step + turn) / hues
            yield BRIGHTNESS * brightness, saturation * math.cos(angle), saturation * math.sin(angle)


def _windows() -> list[list[float]]:
    """[2, SIDE * SIDE]: the share of each pixel in the window and in the whole; both are given times 1,000."""
    profile = _bell((SIDE - 1) / 2, WINDOW * SIDE)
    return [[1000 * row * column for row in profile for column in profile], [1000 / SIDE**2] * SIDE**2]


# --- gradient


def gradient() -> bytes:
    """Oriented gradients in 7 x 7 cells, brightness in the same cells, and a floor: 344 numbers."""
    graph = Graph()
    pixels = graph.add("Transpose", _from_zero_to_one(graph), perm=[0, 3, 1, 2])
    cells = _in_cells(graph, _orientations(graph, pixels))
    roots = graph.add("Sqrt", graph.add("Div", cells, _block_energy(graph, cells)))
    over_cells = graph.add("ReduceMean", roots, axes=[2, 3])
    over_orientations = graph.add("ReduceMean", roots, axes=[1])
    less = graph.add("Sub", roots, graph.scaled(over_cells, CELL_MEAN))
    shape = _unit(graph, graph.add("Sub", less, graph.scaled(over_orientations, ORIENTATION_MEAN)), 0.001)
    grey = _in_cells(graph, graph.add("ReduceMean", pixels, axes=[1]))
    contrast = graph.add("Sub", grey, graph.add("ReduceMean", grey, axes=[2, 3]))
    light = graph.scaled(_unit(graph, contrast, 0.05), LUMINANCE)
    floor = graph.plus(graph.scaled(graph.sum(light, 1), 0), FLOOR)
    graph.add("Concat", shape, light, floor, axis=1, output="vector")
    return graph.serialised("gradient", CELLS**2 * (ORIENTATIONS + 1) + 1)


def _orientations(graph: Graph, pixels: str) -> str:
    """[n, ORIENTATIONS, SIDE, SIDE]: the gradient of the strongest channel, to the power 1.5, shared by direction."""
    padded = graph.add("Pad", pixels, graph.constant([0, 0, 1, 1, 0, 0, 1, 1], integers=True), mode="edge")
    across = _difference(graph, graph.cut(padded, 2, 1, SIDE + 1), 3)
    down = _difference(graph, graph.cut(padded, 3, 1, SIDE + 1), 2)
    energy = graph.add("Add", graph.add("Mul", across, across), graph.add("Mul", down, down))
    strongest = graph.add("ArgMax", energy, axis=1, keepdims=1)
    both = [graph.add("GatherElements", part, strongest, axis=1) for part in (across, down)]
    length = graph.plus(graph.add("Sqrt", graph.add("ReduceMax", energy, axes=[1], keepdims=1)), 0.000001)
    direction = graph.add("Div", graph.add("Concat", *both, axis=1), length)
    angles = [math.pi * step / ORIENTATIONS for step in range(ORIENTATIONS)]
    axes = graph.constant([[[[math.cos(angle)]], [[math.sin(angle)]]] for angle in angles])
    share = graph.add("Conv", direction, axes)
    for _ in range(5):  # to the power 32: a narrow lobe around each orientation
        share = graph.add("Mul", share, share)
    share = graph.add("Div", share, graph.plus(graph.sum(share, 1), 0.000001))
    return graph.add("Mul", share, graph.add("Mul", length, graph.add("Sqrt", length)))


def _difference(graph: Graph, tensor: str, axis: int) -> str:
    return graph.add("Sub", graph.cut(tensor, axis, 2, SIDE + 2), graph.cut(tensor, axis, 0, SIDE))


def _in_cells(graph: Graph, maps: str) -> str:
    """[n, c, SIDE, SIDE] to [n, c, CELLS, CELLS]: means under bells, one per cell, that overlap by half a cell."""
    pitch = SIDE / CELLS
    bells = [_bell((cell + 0.5) * pitch - 0.5, pitch / 2) for cell in range(CELLS)]
    rows = graph.add("MatMul", graph.constant(bells), maps)
    return graph.add("MatMul", rows, graph.constant(list(zip(*bells, strict=True))))


def _block_energy(graph: Graph, cells: str) -> str:
    margin = BLOCK // 2
    pads = graph.constant([0, 0, margin, margin, 0, 0, margin, margin], integers=True)
    energy = graph.add("Pad", graph.sum(cells, 1), pads, mode="edge")
    return graph.plus(graph.add("AveragePool", energy, kernel_shape=[BLOCK, BLOCK]), FLAT)


def _unit(graph: Graph, tensor: str, floor: float) -> str:
    """Flattened, and divided by its length plus `floor`, so that noise stays small."""
    flat = graph.add("Flatten", tensor)
    return graph.add("Div", flat, graph.plus(graph.add("ReduceL2", flat, axes=[1]), floor))


# --- both


def _from_zero_to_one(graph: Graph) -> str:
    return graph.scaled(graph.add("Cast", "pixels", to=TensorProto.FLOAT), 1 / 255)


def _bell(centre: float, deviation: float) -> list[float]:
    """SIDE weights of a Gaussian that sum to one."""
    heights = [math.exp(-0.5 * ((pixel - centre) / deviation) ** 2) for pixel in range(SIDE)]
    return [height / sum(heights) for height in heights]


def main(arguments: Sequence[str]) -> None:
    folder = Path(arguments[0]) if arguments else BUILTIN
    for build in (colour, gradient):
        data = build()
        (folder / f"{build.__name__}.onnx").write_bytes(data)
        print(f"{build.__name__}.onnx  {len(data):,} bytes  sha256 {hashlib.sha256(data).hexdigest()}")  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
