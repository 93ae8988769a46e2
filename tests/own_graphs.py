"""Small graphs of the shapes that people have, with random weights; pictures of 32 x 32 pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper

from tests.graphs.building import Graph

SIDE = 32
FREE = ("N", 3, "height", "width")
FIXED = ("N", 3, SIDE, SIDE)


def resnet(shape: Sequence[int | str] = FIXED) -> ModelProto:
    """Two layers with a way around the second, global pool, 20 classes."""
    graph = Graph(13, 8)
    first = graph.add("Relu", "relu0", graph.conv("conv0", "data", 3, 8, 3, 2))
    second = graph.add("Relu", "relu1", graph.add("Add", "sum", graph.conv("conv1", first, 8, 8, 3), first))
    flat = graph.add("Flatten", "flat", graph.add("GlobalAveragePool", "pool", second))
    return graph.model("data", shape, graph.dense("fc", flat, 8, 20))


def vgg() -> ModelProto:
    """A map, flattened, and three dense layers."""
    graph = Graph(13, 8)
    tensor = graph.max_pool("pool", graph.add("Relu", "relu", graph.conv("conv", "data", 3, 8, 3, 2)), 2, 2)
    tensor = graph.add("Flatten", "flat", tensor)
    for number, (inputs, outputs) in enumerate(((512, 40), (40, 30))):
        tensor = graph.add("Relu", f"fc{number}_relu", graph.dense(f"fc{number}", tensor, inputs, outputs))
        tensor = graph.add("Dropout", f"fc{number}_drop", tensor)
    return graph.model("data", FIXED, graph.dense("fc2", tensor, 30, 10))


def keras(top: bool = True) -> ModelProto:
    """As tf2onnx writes it: channels last outside, first inside."""
    graph = Graph(13, 8)
    turned = graph.add("Transpose", "turned", "input_1", perm=[0, 3, 1, 2])
    tensor = graph.add("Relu", "relu", graph.conv("conv", turned, 3, 8, 3, 2))
    if not top:
        return graph.model("input_1", ["N", SIDE, SIDE, 3], graph.add("Transpose", "map", tensor, perm=[0, 2, 3, 1]))
    pooled = graph.add("GlobalAveragePool", "pool", tensor)
    flat = graph.add("Squeeze", "squeezed", pooled, graph.constant("axes", [2, 3]))
    product = graph.add("MatMul", "product", flat, graph.weight("kernel", 8, 5))
    scores = graph.add("Add", "dense", product, graph.weight("bias", 5))
    return graph.model("input_1", ["N", SIDE, SIDE, 3], graph.add("Softmax", "predictions", scores))


def squeezenet() -> ModelProto:
    """The classifier is a convolution, before the pool."""
    graph = Graph(13, 8)
    tensor = graph.add("Relu", "relu", graph.conv("conv", "data", 3, 8, 3, 2))
    tensor = graph.add("Dropout", "drop", tensor)
    scores = graph.add("Relu", "scores", graph.conv("classes", tensor, 8, 7, 1))
    flat = graph.add("Flatten", "flat", graph.add("GlobalAveragePool", "pool", scores))
    return graph.model("data", FIXED, graph.add("Softmax", "prob", flat))


def backbone() -> ModelProto:
    """No classifier, although the last layer is a convolution of 1 x 1 as in a classifier."""
    graph = Graph(13, 8)
    tensor = graph.add("Relu", "relu", graph.conv("conv", "data", 3, 8, 3, 2))
    tensor = graph.add("Relu", "wide", graph.conv("last", tensor, 8, 24, 1))
    return graph.model("data", FIXED, graph.add("Flatten", "out", graph.add("GlobalAveragePool", "pool", tensor)))


def only_a_map() -> ModelProto:
    graph = Graph(13, 8)
    return graph.model("data", FIXED, graph.add("Relu", "relu", graph.conv("conv", "data", 3, 8, 3, 2)))


def vit(head: bool = True) -> ModelProto:
    """16 patches and a class token; a layer that mixes them; the class token is what is classified."""
    graph = Graph(17, 8)
    patches = graph.conv("patches", "pixel_values", 3, 12, 8, 8, pad=0)
    flat = graph.add("Reshape", "flat", patches, graph.constant("to_places", [0, 12, -1]))
    places = graph.add("Transpose", "places", flat, perm=[0, 2, 1])
    first = graph.add(
        "Slice", "first", places, *(graph.constant(f"n{n}", [n]) for n in (0, 1)), graph.constant("a", [1])
    )
    label = graph.add("Mul", "label", first, graph.weight("class", 1, 1, 12, scale=1.0))
    tokens = graph.add("Concat", "tokens", label, places, axis=1)
    scores = graph.add("MatMul", "attention", tokens, graph.add("Transpose", "turned", tokens, perm=[0, 2, 1]))
    mixed = graph.add("MatMul", "mixed", graph.add("Softmax", "softmax", scores, axis=-1), tokens)
    normed = graph.add(
        "LayerNormalization", "last_hidden_state", graph.add("Add", "plus", mixed, tokens), graph.weight("gain", 12)
    )
    if not head:
        return graph.model("pixel_values", FREE, normed)
    token = graph.add("Gather", "token", normed, graph.constant("zero", np.array(0, np.int64)), axis=1)
    return graph.model("pixel_values", FREE, graph.dense("logits", token, 12, 6))


def clip() -> ModelProto:
    """Both towers in one file, with what compares them; the picture's ends in a layer without a bias."""
    graph = Graph(13, 8)
    pooled = graph.add("GlobalAveragePool", "pool", graph.conv("patches", "pixel_values", 3, 12, 8, 8, pad=0))
    flat = graph.add("Flatten", "flat", pooled)
    embeds = graph.add("MatMul", "image_embeds", flat, graph.weight("visual_projection", 12, 6))
    words = graph.add("Gather", "words", graph.weight("table", 50, 6), "input_ids")
    texts = graph.add("ReduceMean", "text_embeds", words, axes=[1], keepdims=0)
    turned = graph.add("Transpose", "turned", texts, perm=[1, 0])
    graph.add("MatMul", "logits_per_image", embeds, turned)
    model = graph.model("pixel_values", FREE, "logits_per_image")
    model.graph.input.append(helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["N", "length"]))
    for name in ("text_embeds", "image_embeds"):
        model.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
    return model


def typed(kind: int, shape: Sequence[int | str] | None = FIXED, *more: str) -> ModelProto:
    """Pictures of another type or shape, and more inputs, straight to a vector."""
    graph = Graph(13, 8)
    tensor = graph.add("Cast", "numbers", "data", to=TensorProto.FLOAT)
    for name in more:
        tensor = graph.add("Add", f"with_{name}", tensor, name)
    model = graph.model("data", FIXED, graph.add("Flatten", "vector", tensor))
    del model.graph.input[:]
    for name in ("data", *more):
        model.graph.input.append(helper.make_tensor_value_info(name, kind, shape))
    return model


def half() -> ModelProto:
    """Computed in float16 from the first to the last number."""
    graph = Graph(13, 8)
    weights = np.random.default_rng(3).standard_normal((8, 3, 3, 3)).astype(np.float16)
    tensor = graph.add("Conv", "conv", "data", graph.constant("w", weights), kernel_shape=[3, 3])
    pooled = graph.add("GlobalAveragePool", "pool", graph.add("Relu", "relu", tensor))
    model = graph.model("data", FIXED, graph.add("Flatten", "vector", pooled))
    for item in (*model.graph.input, *model.graph.output):
        item.type.tensor_type.elem_type = TensorProto.FLOAT16
    return model


def saved(model: ModelProto, folder: Path, name: str = "own.onnx") -> Path:
    """The model as a file."""
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(model.SerializeToString())
    return file


def outside(model: ModelProto, folder: Path, location: str, data: bytes | None = None) -> Path:
    """The model as a file, its weights in another at `location`; `data` in their place if it is given."""
    numbers = b""
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            _move(tensor, location, len(numbers))
            numbers += tensor.raw_data
            tensor.ClearField("raw_data")
    (folder / location).parent.mkdir(parents=True, exist_ok=True)
    (folder / location).write_bytes(numbers if data is None else data)
    return saved(model, folder)


def _move(tensor: TensorProto, location: str, offset: int) -> None:
    tensor.data_location = TensorProto.EXTERNAL
    entries = {"location": location, "offset": str(offset), "length": str(len(tensor.raw_data))}
    for key, value in entries.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
