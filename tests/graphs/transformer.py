"""CLIP ViT-B/32, the half that sees: Radford et al., Learning transferable visual models, 2021."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto

from tests.graphs.building import Graph


def clip_vision() -> ModelProto:
    """12 layers of width 768, 50 places: 7 x 7 patches and the class. Attention as it is exported, in single steps."""
    graph = Graph(14, 7)
    width, heads, places = 768, 12, 50
    patches = graph.conv("patches", "pixel_values", 3, width, 32, 32, pad=0)
    flat = graph.add("Reshape", "flat", patches, graph.constant("flat_shape", [0, width, -1]))
    turned = graph.add("Transpose", "turned", flat, perm=[0, 2, 1])
    batch = graph.add(
        "Gather", "batch", graph.add("Shape", "shape", "pixel_values"), graph.constant("first", [0]), axis=0
    )
    many = graph.add("Concat", "class_shape", batch, graph.constant("one_class", [1, width]), axis=0)
    label = graph.add("Expand", "class", graph.weight("class_embedding", 1, 1, width, scale=0.5), many)
    tensor = graph.add("Concat", "embedded", label, turned, axis=1)
    tensor = graph.add("Add", "placed", tensor, graph.weight("places", 1, places, width, scale=0.5))
    tensor = _layer_norm(graph, "pre", tensor, width)
    for layer in range(12):
        name = f"layer{layer}/"
        attended = _attention(graph, name, _layer_norm(graph, f"{name}norm1", tensor, width), width, heads)
        tensor = graph.add("Add", f"{name}plus1", tensor, attended)
        wide = _linear(graph, f"{name}fc1", _layer_norm(graph, f"{name}norm2", tensor, width), width, 4 * width)
        gate = graph.add("Mul", f"{name}scaled", wide, graph.constant("1.702", np.array(1.702, np.float32)))
        quick = graph.add("Mul", f"{name}gelu", wide, graph.add("Sigmoid", f"{name}sigmoid", gate))
        tensor = graph.add("Add", f"{name}plus2", tensor, _linear(graph, f"{name}fc2", quick, 4 * width, width))
    head = graph.add("Gather", "class_token", tensor, graph.constant("zeroth", np.array(0, np.int64)), axis=1)
    head = _layer_norm(graph, "post", head, width)
    graph.add("MatMul", "image_embeds", head, graph.weight("visual_projection", width, 512, scale=width**-0.5))
    return graph.model("pixel_values", ["batch_size", "num_channels", "height", "width"], "image_embeds")


def _attention(graph: Graph, name: str, tensor: str, width: int, heads: int) -> str:
    split = graph.constant("split", [0, -1, heads, width // heads])
    query, key, value = (
        graph.add("Transpose", f"{name}{part}t",
                  graph.add("Reshape", f"{name}{part}r", _linear(graph, f"{name}{part}", tensor, width, width), split),
                  perm=[0, 2, 3, 1] if part == "k" else [0, 2, 1, 3])
        for part in ("q", "k", "v")
    )  # fmt: skip
    root = graph.constant("root", np.array((width // heads) ** -0.5, np.float32))
    scores = graph.add("MatMul", f"{name}scores", graph.add("Mul", f"{name}small", query, root), key)
    mixed = graph.add("MatMul", f"{name}mixed", graph.add("Softmax", f"{name}softmax", scores, axis=-1), value)
    turned = graph.add("Transpose", f"{name}mixed_t", mixed, perm=[0, 2, 1, 3])
    joined = graph.add("Reshape", f"{name}joined", turned, graph.constant("join", [0, -1, width]))
    return _linear(graph, f"{name}o", joined, width, width)


def _linear(graph: Graph, name: str, tensor: str, inputs: int, outputs: int) -> str:
    part = name.rpartition("/")[2]
    product = graph.add("MatMul", f"{name}/mul", tensor, graph.weight(f"{part}_w", inputs, outputs, scale=inputs**-0.5))
    return graph.add("Add", f"{name}/add", product, graph.weight(f"{part}_b", outputs, scale=0.1))


def _layer_norm(graph: Graph, name: str, tensor: str, width: int) -> str:
    part = name.rpartition("/")[2]
    less = graph.add("Sub", f"{name}/less", tensor, graph.add("ReduceMean", f"{name}/mean", tensor, axes=[-1]))
    square = graph.add("Pow", f"{name}/square", less, graph.constant("two", np.array(2, np.float32)))
    variance = graph.add("ReduceMean", f"{name}/variance", square, axes=[-1])
    safe = graph.add("Add", f"{name}/safe", variance, graph.constant("epsilon", np.array(1e-5, np.float32)))
    unit = graph.add("Div", f"{name}/unit", less, graph.add("Sqrt", f"{name}/deviation", safe))
    scaled = graph.add("Mul", f"{name}/scaled", unit, graph.weight(f"{part}_g", width, scale=0.01, around=1.0))
    return graph.add("Add", f"{name}/norm", scaled, graph.weight(f"{part}_s", width, scale=0.1))
