"""8-bit versions of graphs."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, helper, numpy_helper


def quantised(model: ModelProto) -> ModelProto:
    """The same with 8-bit weights and activations, as pairs of QuantizeLinear and DequantizeLinear (QDQ).

    Names as in the model zoo's mobilenetv2-12-qdq: what a node computes is called `NAME_QuantizeInput`.
    """
    graph = model.graph
    weights = {item.name: item for item in graph.initializer}
    nodes: list[Any] = []
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm") and node.input[1] in weights:
            nodes += _quantised_weight(graph, weights[node.input[1]])
            node.input[1] += "_dequantized"
        nodes.append(node)
        if node.op_type in ("Relu", "MaxPool", "GlobalAveragePool", "Flatten"):
            nodes += _quantised_activation(graph, node)
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def _quantised_weight(graph: Any, weight: Any) -> list[Any]:
    """Symmetric, one scale for all."""
    numbers: NDArray[np.float32] = numpy_helper.to_array(weight)
    scale = np.float32(np.abs(numbers).max() / 127)
    bits = np.round(numbers / scale).astype(np.int8)
    graph.initializer.remove(weight)
    names = _constants(graph, weight.name, quantized=bits, scale=scale, zero_point=np.int8(0))
    return [helper.make_node("DequantizeLinear", names, [f"{weight.name}_dequantized"])]


def _quantised_activation(graph: Any, node: Any) -> list[Any]:
    name = node.output[0]
    node.output[0] = f"{name}_QuantizeInput"
    scale, zero = _constants(graph, name, scale=np.float32(0.05), zero_point=np.uint8(0))
    return [
        helper.make_node("QuantizeLinear", [node.output[0], scale, zero], [f"{name}_quantized"]),
        helper.make_node("DequantizeLinear", [f"{name}_quantized", scale, zero], [name]),
    ]


def _constants(graph: Any, stem: str, **values: Any) -> list[str]:
    graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), f"{stem}_{part}") for part, value in values.items()
    )
    return [f"{stem}_{part}" for part in values]
