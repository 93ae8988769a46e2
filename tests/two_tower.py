"""A tiny model of two towers, trained here on rendered shapes and colours with words: `red circle` finds red circles.

The picture tower is a layer of random filters and one of weights fitted by least squares (ridge regression) to the text
tower's vectors; the text tower adds up a vector per word. Both are real ONNX graphs with a real tokenizer.
"""

from __future__ import annotations

import hashlib
import io
import random
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image, ImageDraw
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

NAME = "two-tower"
SIZE = 48
DIMENSION = 16
COLOURS = {"red": (220, 30, 30), "green": (30, 170, 60), "blue": (40, 60, 220), "yellow": (235, 210, 30)}
SHAPES = ("circle", "square", "triangle")
WORDS = ("[unk]", "a", "the", *COLOURS, *SHAPES)
FILTERS = 64
TRAINING = 1200
#: Keeps the weights small where pictures say little.
RIDGE = 10.0


def render(colour: str, shape: str, chance: random.Random) -> bytes:
    """A PNG of one shape, anywhere and of any size, on a light background."""
    background = tuple(chance.randint(185, 255) for _ in range(3))
    picture = Image.new("RGB", (SIZE, SIZE), background)
    pen = ImageDraw.Draw(picture)
    side = chance.randint(18, 26)
    x, y = chance.randint(4, SIZE - side - 4), chance.randint(4, SIZE - side - 4)
    fill = tuple(min(255, max(0, channel + chance.randint(-15, 15))) for channel in COLOURS[colour])
    if shape == "circle":
        pen.ellipse((x, y, x + side, y + side), fill=fill)
    elif shape == "square":
        pen.rectangle((x, y, x + side, y + side), fill=fill)
    else:
        pen.polygon([(x + side / 2, y), (x, y + side), (x + side, y + side)], fill=fill)
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


def build(folder: Path) -> None:
    """Train, and write both graphs, the tokenizer and the specification to `folder`; a few seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(7)
    table = _word_vectors(chance)
    kernels = chance.normal(size=(FILTERS, 3, 5, 5)).astype(np.float32) / 5
    biases = chance.normal(size=FILTERS).astype(np.float32) / 2
    weights = _fit(kernels, biases, table)
    _save(_picture_tower(kernels, biases, weights), folder / "pictures.onnx")
    _save(_text_tower(table), folder / "texts.onnx")
    _tokenizer().save(str(folder / "words.json"))
    (folder / f"{NAME}.toml").write_text(_specification(folder))


def _word_vectors(chance: np.random.Generator) -> NDArray[np.float32]:
    """Orthogonal unit vectors for colours and shapes, nothing for other words."""
    basis, _ = np.linalg.qr(chance.normal(size=(DIMENSION, DIMENSION)))
    table = np.zeros((len(WORDS), DIMENSION), np.float32)
    meaning = [*COLOURS, *SHAPES]
    for number, word in enumerate(meaning):
        table[WORDS.index(word)] = basis[number]
    return table


def _fit(kernels: NDArray[np.float32], biases: NDArray[np.float32], table: NDArray[np.float32]) -> NDArray[np.float32]:
    chance = random.Random(1)
    seen, wanted = [], []
    for _ in range(TRAINING):
        colour, shape = chance.choice([*COLOURS]), chance.choice(SHAPES)
        seen.append(_pixels(render(colour, shape, chance)))
        wanted.append(table[WORDS.index(colour)] + table[WORDS.index(shape)])
    features = _run(_picture_tower(kernels, biases, None), np.stack(seen)).astype(np.float64)
    gram = features.T @ features + RIDGE * np.eye(features.shape[1])
    return np.linalg.solve(gram, features.T @ np.stack(wanted)).astype(np.float32)


def _pixels(data: bytes) -> NDArray[np.float32]:
    picture = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), np.float32)
    return picture.transpose(2, 0, 1) / 255


def _run(model: onnx.ModelProto, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    from models.encoder import CPU, open_session, run

    session = open_session(model.SerializeToString(), [CPU], 1)
    return np.asarray(run(session, "features", {"pixels": pixels}, NAME))


def _picture_tower(
    kernels: NDArray[np.float32], biases: NDArray[np.float32], weights: NDArray[np.float32] | None
) -> onnx.ModelProto:
    """Filters, rectifier, then maxima and means over the picture, then the weights; `features` are its result."""
    last = "mixed" if weights is not None else "features"
    nodes = [
        helper.make_node("Conv", ["pixels", "kernels", "biases"], ["filtered"], strides=[1, 1]),
        helper.make_node("Relu", ["filtered"], ["positive"]),
        helper.make_node("GlobalMaxPool", ["positive"], ["maxima"]),
        helper.make_node("GlobalAveragePool", ["positive"], ["means"]),
        helper.make_node("Mul", ["positive", "positive"], ["squares"]),
        helper.make_node("GlobalAveragePool", ["squares"], ["powers"]),
        helper.make_node("Concat", ["maxima", "means", "powers"], ["all"], axis=1),
        helper.make_node("Flatten", ["all"], [last]),
    ]
    constants = [numpy_helper.from_array(kernels, "kernels"), numpy_helper.from_array(biases, "biases")]
    width = 3 * FILTERS
    if weights is not None:
        nodes.append(helper.make_node("MatMul", ["mixed", "weights"], ["features"]))
        constants.append(numpy_helper.from_array(weights, "weights"))
        width = DIMENSION
    return _model(
        nodes,
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", width])],
        constants,
    )


def _text_tower(table: NDArray[np.float32]) -> onnx.ModelProto:
    """The sum of the vectors of the words that the mask leaves."""
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["words"]),
        helper.make_node("Cast", ["mask"], ["kept"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["kept", "last"], ["wide"]),
        helper.make_node("Mul", ["words", "wide"], ["left"]),
        helper.make_node("ReduceSum", ["left", "middle"], ["features"], keepdims=0),
    ]
    ids, mask = (helper.make_tensor_value_info(name, TensorProto.INT64, ["n", 8]) for name in ("ids", "mask"))
    constants = [
        numpy_helper.from_array(table, "table"),
        numpy_helper.from_array(np.array([2], np.int64), "last"),
        numpy_helper.from_array(np.array([1], np.int64), "middle"),
    ]
    output = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", DIMENSION])
    return _model(nodes, [ids, mask], [output], constants)


def _model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto],
    outputs: list[onnx.ValueInfoProto],
    constants: list[onnx.TensorProto],
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "tower", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _save(model: onnx.ModelProto, file: Path) -> None:
    onnx.checker.check_model(model)
    file.write_bytes(model.SerializeToString())


def _tokenizer() -> Tokenizer:
    vocabulary = {word: number for number, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[unk]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def _specification(folder: Path) -> str:
    def sha256(name: str) -> str:
        return hashlib.sha256((folder / name).read_bytes()).hexdigest()

    return f"""
name = "{NAME}"
title = "Shapes and colours with words"
licence = "Apache-2.0"
source = "tests/two_tower.py"
file = "pictures.onnx"
sha256 = "{sha256("pictures.onnx")}"

[input]
tensor = "pixels"
height = {SIZE}
width = {SIZE}

[preprocess]
resize = "exact"

[feature]
tensor = "features"
dimension = {DIMENSION}

[text]
file = "texts.onnx"
sha256 = "{sha256("texts.onnx")}"
tokenizer = "words.json"
tokenizer_sha256 = "{sha256("words.json")}"
ids = "ids"
mask = "mask"
length = 8
feature = "features"
"""
